"""DLV: safety of one decision by manipulations of features, layer by layer (Huang, Kwiatkowska, Wang, Wu 2017)."""
