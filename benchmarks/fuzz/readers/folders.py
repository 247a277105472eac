"""Picture folders with parts and classes, in which damaged pictures lie beside whole ones."""

from benchmarks.fuzz.reader import Reader
from benchmarks.fuzz.readers.pictures import read_folder, twisted, valid

READER = Reader(".png", valid, twisted, read_folder, allowance=96 << 20)
