#!/usr/bin/env bash
# Everything that needs a GPU, in one call of a few minutes: the tests marked gpu, what the monitor costs, the guard in
# all number formats, epoch times at imgsz 640, what augmentation costs beside a step, and the faults of half precision.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${PYTHON:-.venv/bin/python}"
"$python" -c 'import torch; print(torch.cuda.get_device_name(0), "torch", torch.__version__)'
"$python" -m pytest -m gpu
"$python" benchmarks/monitor.py --device 0 --imgsz 640 --steps 60
"$python" benchmarks/guard.py --device 0
test -d datasets/steel/images || "$python" -m pipeline demo steel datasets/steel
"$python" benchmarks/epoch_time.py --device 0 --imgsz 640 --rounds 2
"$python" -m pipeline contract datasets/steel augment=metal device=0 batch=16 imgsz=640 workers=8 model=yolo26n.yaml
for fault in fp16_overflow loss_scale_forced; do
  "$python" benchmarks/faults/run.py heldout runs/faults --only "$fault" --jobs 2
done
"$python" benchmarks/faults/score.py runs/faults/heldout
