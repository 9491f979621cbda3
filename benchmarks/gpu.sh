#!/usr/bin/env bash
# Everything that needs a GPU, in one call of a few minutes: the tests marked gpu, what the monitor costs, the guard in
# all number formats, then epoch times at imgsz 640.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${PYTHON:-.venv/bin/python}"
"$python" -c 'import torch; print(torch.cuda.get_device_name(0), "torch", torch.__version__)'
"$python" -m pytest -m gpu
"$python" benchmarks/monitor.py --device 0 --imgsz 640 --steps 60
"$python" benchmarks/guard.py --device 0
test -d datasets/steel/images || "$python" -m pipeline demo steel datasets/steel
"$python" benchmarks/epoch_time.py --device 0 --imgsz 640 --rounds 2
