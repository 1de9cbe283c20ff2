"""How fast the golden model is, each figure beside its peer; needs the extra ``nomul[bench]``."""
