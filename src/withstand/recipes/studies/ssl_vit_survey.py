"""Survey: every masked and pretext mechanism on one budget, beside an encoder that learnt nothing.

paper: A Survey of the Self Supervised Learning Mechanisms for Vision Transformers (2024); its taxonomy is the headers'
  mechanism, target, granularity, guard and needs, which `withstand find --mechanism masked` searches
claims: vision transformers learn without labels by many mechanisms, whose tasks, targets and needs differ
learns from: what its mechanisms learn from, pictures without labels; one or two views of each
use it when: a mechanism is to be chosen, and it is to be known what each gives for the same pictures and steps
not for: a ranking that holds at other scales: passes a step differ, and so do the lengths at which each is at its best
command: withstand reproduce ssl-vit-survey
time: 1,779 processor seconds for the claim, 3 seeds of 14 arms
reached: 0.21 ± 0.24 of 13 mechanisms are two points above an untrained encoder after 368 steps, mae and hpm most; four
  in five is not reproduced at this scale
"""
