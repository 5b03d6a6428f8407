"""A real Slurm of two nodes on one machine: its own munge, controller and ports, all under one folder.

Nothing outside that folder is touched, and only processes started here are ended, so a machine that is
part of a cluster can run it too. Needs no root: every daemon runs as the present user.

`python tests/slurm/cluster.py COMMAND...` runs a command on one, such as `snakemake --profile slurm`.
"""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAMS = (
    "munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo", "setpriv",
)  # fmt: skip
NODES = ("n1", "n2")
MEMORY_MB = 4000  # of each node
SEARCH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"

CONF = """\
ClusterName=isoplan
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=1,sched_interval=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=3600
InactiveLimit=0
KillWait=5
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cpus} RealMemory={memory}
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs={cpus} RealMemory={memory}
PartitionName=main Nodes=n1,n2 Default=YES LLN=YES MaxTime=60 DefaultTime=10 State=UP
"""


def missing_programs() -> list[str]:
    """The programs that a cluster needs and this machine has not."""
    return [name for name in PROGRAMS if shutil.which(name, path=SEARCH) is None]


class Cluster:
    """Two-node Slurm; use it as a context manager. `environment` is what commands that talk to it need.

    cpus: of each node. With 1, the default, a node has one job at a time, so that both get some.
    """

    def __init__(self, cpus: int = 1):
        self.cpus = cpus

    def __enter__(self) -> "Cluster":
        # Not pytest's own folder: sockets' paths must stay under 108 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="isoplan-slurm-"))
        self.daemons: list[subprocess.Popen] = []
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))}
        self.environment = clean | {
            "SLURM_CONF": f"{self.folder}/slurm.conf",
            "PATH": f"{self.folder}/bin:{SEARCH}",
        }
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        for name in ("munge", "state", *(f"spool-{node}" for node in NODES)):
            (self.folder / name).mkdir(mode=0o700)
        self._wrap_srun()
        key = self.folder / "munge" / "key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        (self.folder / "slurm.conf").write_text(
            CONF.format(
                host=socket.gethostname().split(".")[0],
                user=pwd.getpwuid(os.getuid()).pw_name,
                folder=self.folder,
                ports=free_ports(3),
                cpus=self.cpus,
                memory=MEMORY_MB,
            )
        )
        munge = {"socket": "socket", "key-file": "key", "pid-file": "pid", "seed-file": "seed"}
        places = [f"--{option}={key.parent}/{name}" for option, name in munge.items()]
        # --force: the socket's folder is closed to other users, which munge only warns of.
        log = f"--log-file={self.folder}/munge.log"
        self._daemon("munged", "--foreground", "--force", "--num-threads=2", log, *places)
        self._wait((key.parent / "socket").exists, "munge's socket")
        self.start_controller()
        for node in NODES:
            self._daemon("slurmd", "-D", "-N", node)
        self.wait_until_idle()

    def _wrap_srun(self) -> None:
        """Tells srun which cluster is meant: Snakemake starts it within jobs without SLURM_CONF."""
        wrapper = self.folder / "bin" / "srun"
        wrapper.parent.mkdir()
        real = shutil.which("srun", path=SEARCH)
        wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {real} "$@"\n')
        wrapper.chmod(0o755)

    def _daemon(self, *command: str) -> None:
        with (self.folder / "daemons.out").open("a") as out:
            # Ends with us, even where we are killed and nothing below is reached.
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *command],
                env=self.environment,
                stdout=out,
                stderr=out,
            )
        self.daemons.append(process)

    def start_controller(self) -> None:
        """Starts slurmctld, which goes on from the state that an earlier one saved."""
        self._daemon("slurmctld", "-D")

    def kill_controller(self) -> None:
        """kill -9 of slurmctld."""
        [process] = [daemon for daemon in self.daemons if "slurmctld" in daemon.args]
        process.kill()
        process.wait()
        self.daemons.remove(process)

    def set_node(self, node: str, state: str) -> None:
        """What an administrator does: state "down" or "resume"."""
        self.output("scontrol", "update", f"nodename={node}", f"state={state}", "reason=chaos")

    def wait_until_idle(self) -> None:
        """Raises RuntimeError where a node does not come back."""
        self._wait(self._ready, "both nodes idle")

    def _ready(self) -> bool:
        return self.output("sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * len(NODES)

    def _wait(self, ready, what: str, seconds: int = 60) -> None:
        end = time.monotonic() + seconds
        while not ready():
            ended = [p.args[3] for p in self.daemons if p.poll() is not None]
            if ended or time.monotonic() > end:
                raise RuntimeError(f"no {what}; ended: {ended or 'nothing'}\n{self.logs()}")
            time.sleep(0.2)

    def output(self, *command: str) -> str:
        """Standard output of a command that talks to this cluster; nothing where it fails."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else ""

    def nodes_used(self) -> set[str]:
        """The nodes that batch jobs ran on, finished ones included (Slurm keeps them an hour)."""
        lines = self.output("squeue", "-h", "-t", "all", "-o", "%N").split()
        return set(lines) & set(NODES)

    def logs(self, lines: int = 30) -> str:
        """The end of every daemon's log."""
        files = sorted([*self.folder.glob("*.log"), *self.folder.glob("*.out")])
        return "\n".join(
            f"--- {f.name}\n" + "\n".join(f.read_text(errors="replace").splitlines()[-lines:])
            for f in files
        )

    def __exit__(self, *_) -> None:
        if len(self.daemons) > 1:
            self.output("scancel", "--user", pwd.getpwuid(os.getuid()).pw_name)
            end = time.monotonic() + 20
            while self.output("squeue", "-h").strip() and time.monotonic() < end:
                time.sleep(0.5)
        for process in reversed(self.daemons):
            process.terminate()
        for process in self.daemons:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at the moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


if __name__ == "__main__":
    if missing_programs() or len(sys.argv) < 2:
        sys.exit(f"{__doc__}\nmissing: {', '.join(missing_programs()) or 'a command'}")
    with Cluster() as cluster:
        sys.exit(subprocess.call(sys.argv[1:], env=cluster.environment))
