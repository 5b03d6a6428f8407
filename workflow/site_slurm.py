"""Compares what a Slurm cluster offers with what a profile and a study request.

`profile_checks.site` finds this module by the profile's executor.
"""

import getpass
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from isoplan import stages
from isoplan.cluster.schedulers.slurm import Partition, ask, last_line, read_partitions
from profile_checks import FAIL, OK, WARN, Finding, Profile

COMMANDS = ("sbatch", "squeue", "scancel", "sinfo", "scontrol", "srun")
KEPT_S = 120  # squeue must list an ended job for so long, else Snakemake may miss how it ended
# An example rule for each kind of the config's `resources`.
RULES = {kind: stages.example(kind).rule for kind in stages.KINDS}
PROBE_S = 60
PROBE = """
import json, pathlib, socket, sys, time
begin, token = time.time(), pathlib.Path(sys.argv[1])
while not token.exists() and time.time() - begin < 30:
    time.sleep(0.2)
import numpy, torch, zarr
said = {"node": socket.gethostname(), "seen": token.exists(), "waited_s": time.time() - begin}
said |= {"gpu": torch.cuda.is_available()}
if said["seen"]:
    (token.parent / "answer.json").write_text(json.dumps(said))
print(json.dumps(said))
"""


@dataclass
class Site:
    """The cluster that the Slurm commands on this machine talk to."""

    profile: Profile
    study: dict
    config: dict[str, str] = field(default_factory=dict)
    partitions: dict[str, Partition] = field(default_factory=dict)

    def findings(self) -> Iterator[Finding]:
        absent = [name for name in COMMANDS if shutil.which(name) is None]
        if absent:
            yield Finding(
                FAIL, f"Slurm's commands are not here: {', '.join(absent)}",
                "start this on the cluster's login node, after `module load slurm` if your site needs it",
            )  # fmt: skip
            return
        said, why = ask("scontrol", "show", "config")
        if not said:
            yield Finding(FAIL, f"Slurm's controller does not answer: {why}", "ask your site")
            return
        self.config = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", said, re.MULTILINE))
        self.partitions = read_partitions(
            ask("scontrol", "show", "partition", "--oneliner")[0],
            ask("scontrol", "show", "node", "--oneliner")[0],
        )
        yield Finding(OK, f"Slurm {self.config.get('SLURM_VERSION', '')} answers")
        yield self.status_command()
        yield self.account()
        yield self.queue()
        for kind, rule in RULES.items():
            yield from self.fits(kind, rule)
        if self.study["device"] == "cuda":
            yield from self.gpus()
        yield self.node()

    # Accounting ------------------------------------------------------------------------------------

    @property
    def keeps_accounts(self) -> bool:
        return self.config.get("AccountingStorageType", "").endswith("slurmdbd")

    def status_command(self) -> Finding:
        """Whether Snakemake will notice that a job has ended."""
        command = self.profile.settings.get("slurm-status-command", "sacct")
        kept = int(re.match(r"\d*", self.config.get("MinJobAge", "")).group() or 300)
        change = self.profile.change
        if command == "sacct" and not (self.keeps_accounts and ask("sacct", "-n", "-X")[1] is None):
            return Finding(
                FAIL, "sacct has no database here: Snakemake would wait forever",
                change("slurm-status-command", "slurm-status-command: squeue"),
            )  # fmt: skip
        if command == "squeue" and kept < KEPT_S:
            text = f"squeue forgets ended jobs after {kept} s (MinJobAge): failures may be missed"
            if self.keeps_accounts:
                return Finding(
                    FAIL, text, change("slurm-status-command", "slurm-status-command: sacct")
                )
            return Finding(
                WARN, text,
                change("slurm-init-seconds-before-status-checks",
                       f"slurm-init-seconds-before-status-checks: {max(1, kept // 4)}"),
            )  # fmt: skip
        return Finding(OK, f"job states by {command}; ended jobs stay listed {kept} s")

    def account(self) -> Finding:
        """Whether jobs run under an account that the site knows."""
        given = self.profile.resource("", "slurm_account")
        if self.profile.settings.get("slurm-no-account"):
            given = None
            if "associations" not in self.config.get("AccountingStorageEnforce", ""):
                return Finding(OK, "jobs name no account, and the site needs none")
        if not self.keeps_accounts:
            if given:
                return Finding(OK, f"account {given}; the site has no list of accounts to check it")
            return Finding(
                OK, "the site has no accounts",
                self.profile.change("slurm-no-account", "slurm-no-account: true")
                + "\n(otherwise every run begins with a warning)"
                if not self.profile.settings.get("slurm-no-account") else "",
            )  # fmt: skip
        user = getpass.getuser()
        known = ask("sacctmgr", "-nP", "show", "assoc", f"user={user}", "format=account")[0].split()
        default = ask("sacctmgr", "-nP", "show", "user", user, "format=defaultaccount")[0].strip()
        names = ", ".join(sorted(set(known))) or "none at all"
        wanted = default or (sorted(known)[0] if known else "ask your site")
        advice = self.profile.change("slurm_account", f'  slurm_account: "{wanted}"')
        if given and known and given.lower() not in {name.lower() for name in known}:
            return Finding(FAIL, f"account {given} is not one of yours ({names})", advice)
        if given:
            return Finding(OK, f"account {given}")
        if "associations" in self.config.get("AccountingStorageEnforce", "") and not default:
            text = f"the site needs an account, and you have no default one (yours: {names})"
            return Finding(FAIL, text, advice)
        if len(set(known)) > 1:
            text = f"Snakemake will guess one of your accounts ({names})"
            return Finding(WARN, text, advice)
        return Finding(OK, f"your account is {default or names}")

    def queue(self) -> Finding:
        """Whether the site allows as many jobs in the queue as the profile submits."""
        jobs = self.profile.settings.get("jobs", 1)
        limits = [int(value) for value in [self.config.get("MaxJobCount", "")] if value.isdigit()]
        if self.keeps_accounts:
            own = ("show", "assoc", f"user={getpass.getuser()}", "format=maxsubmitjobs")
            limits += [int(v) for v in ask("sacctmgr", "-nP", *own)[0].split() if v.isdigit()]
        least = min(limits, default=None)
        if least is not None and jobs != "unlimited" and int(jobs) > least:
            return Finding(
                FAIL, f"{jobs} jobs in the queue at once, but the site allows {least}",
                self.profile.change("jobs", f"jobs: {max(1, int(0.9 * least))}"),
            )  # fmt: skip
        return Finding(OK, f"up to {jobs} jobs in the queue at once")

    # Partitions ------------------------------------------------------------------------------------

    def partition(self, rule: str) -> Partition | None:
        name = self.profile.resource(rule, "slurm_partition")
        if name:
            return self.partitions.get(str(name).split(",")[0])
        return next((part for part in self.partitions.values() if part.default), None)

    def fits(self, kind: str, rule: str) -> Iterator[Finding]:
        """Whether a rule's partition allows its time, memory and cores, even on the last retry."""
        given = self.profile.resource(rule, "slurm_partition")
        part = self.partition(rule)
        names = ", ".join(self.partitions)
        asked = {
            "minutes": self.study["resources"][f"{kind}_minutes"],
            "memory_mb": self.study["resources"][f"{kind}_mem_mb"],
            "cpus": self.study["resources"]["threads"] if kind in ("train", "other") else 1,
        }
        if part is None:
            text = (
                f"partition {given} of {rule} does not exist"
                if given
                else "there is no default partition"
            )
            other = self.other_partition(asked) or next(iter(self.partitions), "ask your site")
            yield Finding(FAIL, f"{text} (known: {names})", self.name_partition(rule, other))
            return
        if not part.up:
            yield Finding(WARN, f"partition {part.name} is not up: jobs of {rule} will wait")
        words = {"minutes": "minutes", "memory_mb": "MB", "cpus": "cores"}
        short = [key for key in words if over(asked[key], getattr(part, key))]
        for key in short:
            text = (
                f"{rule} requests {asked[key]:g} {words[key]}, partition {part.name} allows "
                f"{getattr(part, key):g}"
            )
            other = self.other_partition(asked)
            advice = self.name_partition(rule, other) if other else self.ask_less(kind, key, part)
            yield Finding(FAIL, text, advice)
        if short:
            return
        text = (
            f"{rule}: {asked['minutes']} minutes, {asked['memory_mb']} MB, {asked['cpus']} cores in "
            f"partition {part.name}"
        )
        retries = int(self.profile.settings.get("retries", 0))
        tries = {key: asked[key] * 2**retries for key in ("minutes", "memory_mb")}
        late = [key for key in tries if over(tries[key], getattr(part, key))]
        if not late:
            yield Finding(OK, text)
            return
        limits = " and ".join(f"{getattr(part, key):g} {words[key]}" for key in late)
        yield Finding(
            WARN, f"{text}; its last retry would request more than the {limits} there",
            self.profile.change("retries", f"retries: {self.tries_that_fit(asked, part)}"),
        )  # fmt: skip

    def tries_that_fit(self, asked: dict, part: Partition) -> int:
        retries = int(self.profile.settings.get("retries", 0))
        while retries and any(
            over(asked[key] * 2**retries, getattr(part, key)) for key in ("minutes", "memory_mb")
        ):
            retries -= 1
        return retries

    def other_partition(self, asked: dict) -> str | None:
        """A partition that allows these requests, or None."""
        fits = [
            part.name
            for part in self.partitions.values()
            if part.up and not any(over(value, getattr(part, key)) for key, value in asked.items())
        ]
        return fits[0] if fits else None

    def name_partition(self, rule: str, name: str) -> str:
        own = (self.profile.settings.get("set-resources") or {}).get(rule) or {}
        if "slurm_partition" in own:
            start = next(i for i, line in enumerate(self.profile.lines) if rule in line)
            for number, line in enumerate(self.profile.lines[start:], start=start + 1):
                if "slurm_partition" in line:
                    text = f'    slurm_partition: "{name}"'
                    return f"change {self.profile.path}, line {number}, to:\n{text}"
        return self.profile.change("slurm_partition", f'  slurm_partition: "{name}"')

    def ask_less(self, kind: str, key: str, part: Partition) -> str:
        setting = {"minutes": f"{kind}_minutes", "memory_mb": f"{kind}_mem_mb", "cpus": "threads"}[
            key
        ]
        more = {
            "minutes": "; with a larger jobs_per_mosaic a job has less to do",
            "memory_mb": "; with a smaller core_px a job needs less" if kind == "restore" else "",
        }.get(key, "")
        return f"in the config: resources: {{{setting}: {getattr(part, key):.0f}}}{more}"

    def gpus(self) -> Iterator[Finding]:
        """Whether every job that computes gets a GPU, as `device: cuda` needs."""
        rules = [s.rule for s in stages.STAGES if s.device and s.wanted(self.study)]
        without = [rule for rule in rules if not self.profile.wants_gpu(rule)]
        if without:
            yield Finding(
                FAIL, f"device: cuda, but the profile gives no GPU to {', '.join(without)}",
                self.profile.change("set-resources", "set-resources:")
                + "".join(f"\n  {rule}:\n    gpu: 1" for rule in without),
            )  # fmt: skip
        for rule in (rule for rule in rules if rule not in without):
            if (part := self.partition(rule)) and not part.gpus:
                with_gpus = next((p.name for p in self.partitions.values() if p.gpus), None)
                text = f"{rule} needs a GPU, but no node of partition {part.name} has one"
                yield Finding(FAIL, text, self.name_partition(rule, with_gpus or "ask your site"))

    # A node ----------------------------------------------------------------------------------------

    def node(self) -> Finding:
        """Whether a node sees this folder and its Python, tested by a job of seconds."""
        command = ["srun", "--quiet", "--nodes=1", "--ntasks=1", "--mem=1000", "--time=3"]
        command += [f"--immediate={PROBE_S}", f"--chdir={Path.cwd()}"]
        part, account = self.partition("map_psf"), self.profile.resource("map_psf", "slurm_account")
        command += [f"--partition={part.name}"] if part else []
        command += [f"--account={account}"] if account else []
        with tempfile.TemporaryDirectory(prefix=".preflight-", dir="results") as folder:
            token, answer = Path(folder).resolve() / "token", Path(folder) / "answer.json"
            token.touch()
            try:
                done = subprocess.run(
                    [*command, sys.executable, "-c", PROBE, str(token)],
                    capture_output=True, text=True, timeout=3 * PROBE_S,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                return Finding(WARN, f"no node answered within {3 * PROBE_S} s; try again later")
            if done.returncode:
                why = last_line(done.stderr)
                if "llocat" in why or "immediate" in why.lower():
                    return Finding(WARN, f"no node was free ({why}); try again later")
                return Finding(
                    FAIL, f"a node cannot run this folder's Python: {why}",
                    "clone and `make setup` on a file system that the nodes mount at the same place",
                )  # fmt: skip
            said = json.loads(done.stdout.splitlines()[-1])
            if not said["seen"]:
                return Finding(
                    FAIL, f"node {said['node']} does not see {Path(folder).resolve().parent}",
                    "clone on a file system that the nodes mount at the same place",
                )  # fmt: skip
            begin = time.monotonic()
            wait = self.profile.settings.get("latency-wait", 5)
            while not answer.exists() and time.monotonic() - begin < wait:
                time.sleep(0.2)
            if not answer.exists():
                return Finding(
                    FAIL, f"a file written by node {said['node']} does not appear here within {wait} s",
                    self.profile.change("latency-wait", f"latency-wait: {max(60, 4 * wait)}"),
                )  # fmt: skip
        late = time.monotonic() - begin
        return Finding(
            OK,
            f"node {said['node']} runs this folder's Python; its files appear here after {late:.1f} s",
        )


def over(asked: float, limit: float | None) -> bool:
    return limit is not None and asked > limit
