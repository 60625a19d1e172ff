"""The colours that classes are drawn in first, on sheets and in reports: told apart by the colour-blind too.

Those of Okabe and Ito (Color Universal Design, 2008), without black.
"""

PALETTE = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442")
