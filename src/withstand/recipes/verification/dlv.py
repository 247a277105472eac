"""DLV: look for wrong decisions near an input by manipulating features, layer by layer, or prove that there are none.

paper: Safety Verification of Deep Neural Networks (Huang, Kwiatkowska, Wang, Wu; CAV 2017)
claims: a search over discrete manipulations of chosen features, carried through the layers, finds wrong decisions near
  an input that gradient attacks such as FGSM miss, and with smaller changes
learns from: nothing; it looks at a trained network, at pictures or rows of numbers
use it when: one decision has to be looked at closely: all counterexamples listed, hidden layers, brightness, rotation,
  translation, scratches; or a grid is to become a proof
command: withstand reproduce dlv
time: 26 s of processor time, 3 seeds
reached: of 63 decisions that can be made wrong (of 96; exact answers) DLV finds 61, PGD with 100 steps 59, FGSM
  92 ± 3 % of each seed's; where FGSM wins too, DLV's way is 0.153 long and FGSM's 0.285 (L2); of the 33 safe ones
  CROWN in the layers proves 31 and cells all 33; no answer contradicts the exact one
"""
