"""The small study that several tests share. It is called as the demo, so that commands of the pages find its results."""

STUDY = """
study: demo
psfs:
  - {name: gaussian-2, model: gaussian-2, size_px: 15, width_px: [1.5, 5]}
networks:
  - name: small
    width: 8
    fit: none
    passes: 2
    samples: 256
    epoch_samples: 32
    scenes: 12
    fresh_scenes: 4
    batch: 16
    validation_samples: 32
    patience_epochs: 0
test_sets:
  - {name: scenes, samples: 32}
tests:
  - {network: small, test_set: scenes}
simulations:
  - mosaic: pictures
    size_px: [256, 1152]
    tile_px: 128
    field:
      - {parameter: width_x, shape: tilt-x, low: 1.5, high: 5}
      - {parameter: width_y, shape: tilt-y, low: 1.5, high: 5}
mosaics: null
map: {window_px: 96, stride_px: 32, validity_threshold: 0.2, alarm_threshold: 1}
restoration: {iterations: 5, psf_shape: map, core_px: 256}
jobs_per_mosaic: 1
report: {crop_px: 128}
resources: {threads: 1}
"""
