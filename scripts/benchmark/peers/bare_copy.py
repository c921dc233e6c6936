"""The bound of every transport with one copy: one process that copies each picture into one of two warm slots."""

from __future__ import annotations

import mmap
import sys

import numpy as np
from trial import load_trial
from workload import Meter, make_pictures, paced, stamp

trial, meter = load_trial(sys.argv[1]), Meter(sys.argv[1])
size = trial.height * trial.width * 3
slots = np.frombuffer(mmap.mmap(-1, 2 * size), np.uint8).reshape(2, trial.height, trial.width, 3)
slots[:] = 0
pictures = make_pictures(trial.height, trial.width)
meter.open()
for number in paced(trial.count, trial.rate):
    stamp(pictures[number % 4], number)
    slots[number % 2] = pictures[number % 4]
    meter.see(slots[number % 2])
meter.close()
