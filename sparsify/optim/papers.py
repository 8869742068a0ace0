"""What the optimizers and the schedules were published as."""

from __future__ import annotations

from sparsify.publications import Publication

_ICLR = "International Conference on Learning Representations"
_ICML = "International Conference on Machine Learning"
_JMLR = "Journal of Machine Learning Research"
_PMLR = "Proceedings of Machine Learning Research"

ROBBINS_1951 = Publication(
    "article",
    "robbins1951stochastic",
    ("Robbins, Herbert", "Monro, Sutton"),
    "A Stochastic Approximation Method",
    1951,
    {"journal": "The Annals of Mathematical Statistics", "volume": "22", "number": "3", "pages": "400--407"},
)
SUTSKEVER_2013 = Publication(
    "inproceedings",
    "sutskever2013importance",
    ("Sutskever, Ilya", "Martens, James", "Dahl, George", "Hinton, Geoffrey"),
    "On the Importance of Initialization and Momentum in Deep Learning",
    2013,
    {"booktitle": _ICML, "pages": "1139--1147"},
)
FU_2020 = Publication(
    "inproceedings",
    "fu2020dessilbi",
    ("Fu, Yanwei", "Liu, Chen", "Li, Donghao", "Sun, Xinwei", "Zeng, Jinshan", "Yao, Yuan"),
    "DessiLBI: Exploring Structural Sparsity of Deep Networks via Differential Inclusion Paths",
    2020,
    {
        "booktitle": "Proceedings of the 37th International Conference on Machine Learning",
        "series": _PMLR,
        "volume": "119",
        "pages": "3315--3326",
        "url": "https://arxiv.org/abs/2007.02010",
    },
)
FU_2022 = Publication(
    "article",
    "fu2022exploring",
    ("Fu, Yanwei", "Liu, Chen", "Li, Donghao", "Zhong, Zuyuan", "Sun, Xinwei", "Zeng, Jinshan", "Yao, Yuan"),
    "Exploring Structural Sparsity of Deep Networks via Inverse Scale Spaces",
    2022,
    {
        "journal": "IEEE Transactions on Pattern Analysis and Machine Intelligence",
        "doi": "10.1109/TPAMI.2022.3168881",
    },
)
HUANG_2016 = Publication(
    "inproceedings",
    "huang2016split",
    ("Huang, Chendi", "Sun, Xinwei", "Xiong, Jiechao", "Yao, Yuan"),
    "Split LBI: An Iterative Regularization Path with Structural Sparsity",
    2016,
    {"booktitle": "Advances in Neural Information Processing Systems", "volume": "29", "pages": "3369--3377"},
)
BUNGERT_2022 = Publication(
    "article",
    "bungert2022bregman",
    ("Bungert, Leon", "Roith, Tim", "Tenbrinck, Daniel", "Burger, Martin"),
    "A Bregman Learning Framework for Sparse Neural Networks",
    2022,
    {"journal": _JMLR, "volume": "23", "number": "192", "pages": "1--43", "url": "https://arxiv.org/abs/2105.04319"},
)
DUCHI_2009 = Publication(
    "article",
    "duchi2009efficient",
    ("Duchi, John", "Singer, Yoram"),
    "Efficient Online and Batch Learning Using Forward Backward Splitting",
    2009,
    {"journal": _JMLR, "volume": "10", "pages": "2899--2934"},
)
LIU_2017 = Publication(
    "inproceedings",
    "liu2017learning",
    ("Liu, Zhuang", "Li, Jianguo", "Shen, Zhiqiang", "Huang, Gao", "Yan, Shoumeng", "Zhang, Changshui"),
    "Learning Efficient Convolutional Networks through Network Slimming",
    2017,
    {
        "booktitle": "Proceedings of the IEEE International Conference on Computer Vision",
        "url": "https://arxiv.org/abs/1708.06519",
    },
)
KINGMA_2015 = Publication(
    "inproceedings",
    "kingma2015adam",
    ("Kingma, Diederik P.", "Ba, Jimmy"),
    "Adam: A Method for Stochastic Optimization",
    2015,
    {"booktitle": _ICLR, "url": "https://arxiv.org/abs/1412.6980"},
)
LOSHCHILOV_2019 = Publication(
    "inproceedings",
    "loshchilov2019decoupled",
    ("Loshchilov, Ilya", "Hutter, Frank"),
    "Decoupled Weight Decay Regularization",
    2019,
    {"booktitle": _ICLR, "url": "https://arxiv.org/abs/1711.05101"},
)
TIELEMAN_2012 = Publication(
    "misc",
    "tieleman2012lecture",
    ("Tieleman, Tijmen", "Hinton, Geoffrey"),
    "Lecture 6.5-rmsprop: Divide the Gradient by a Running Average of Its Recent Magnitude",
    2012,
    {"howpublished": "Coursera: Neural Networks for Machine Learning"},
)
DUCHI_2011 = Publication(
    "article",
    "duchi2011adaptive",
    ("Duchi, John", "Hazan, Elad", "Singer, Yoram"),
    "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization",
    2011,
    {"journal": _JMLR, "volume": "12", "pages": "2121--2159"},
)
ZEILER_2012 = Publication(
    "misc",
    "zeiler2012adadelta",
    ("Zeiler, Matthew D.",),
    "ADADELTA: An Adaptive Learning Rate Method",
    2012,
    {"eprint": "1212.5701", "archiveprefix": "arXiv"},
)
DOZAT_2016 = Publication(
    "inproceedings",
    "dozat2016incorporating",
    ("Dozat, Timothy",),
    "Incorporating Nesterov Momentum into Adam",
    2016,
    {"booktitle": f"{_ICLR}, Workshop Track"},
)
LIU_2020 = Publication(
    "inproceedings",
    "liu2020variance",
    (
        *("Liu, Liyuan", "Jiang, Haoming", "He, Pengcheng", "Chen, Weizhu", "Liu, Xiaodong", "Gao, Jianfeng"),
        "Han, Jiawei",
    ),
    "On the Variance of the Adaptive Learning Rate and Beyond",
    2020,
    {"booktitle": _ICLR, "url": "https://arxiv.org/abs/1908.03265"},
)
SHAZEER_2018 = Publication(
    "inproceedings",
    "shazeer2018adafactor",
    ("Shazeer, Noam", "Stern, Mitchell"),
    "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost",
    2018,
    {
        "booktitle": "Proceedings of the 35th International Conference on Machine Learning",
        "series": _PMLR,
        "volume": "80",
        "url": "https://arxiv.org/abs/1804.04235",
    },
)
POLYAK_1992 = Publication(
    "article",
    "polyak1992acceleration",
    ("Polyak, Boris T.", "Juditsky, Anatoli B."),
    "Acceleration of Stochastic Approximation by Averaging",
    1992,
    {"journal": "SIAM Journal on Control and Optimization", "volume": "30", "number": "4", "pages": "838--855"},
)
RIEDMILLER_1993 = Publication(
    "inproceedings",
    "riedmiller1993direct",
    ("Riedmiller, Martin", "Braun, Heinrich"),
    "A Direct Adaptive Method for Faster Backpropagation Learning: The RPROP Algorithm",
    1993,
    {"booktitle": "IEEE International Conference on Neural Networks", "pages": "586--591"},
)

LOSHCHILOV_2017 = Publication(
    "inproceedings",
    "loshchilov2017sgdr",
    ("Loshchilov, Ilya", "Hutter, Frank"),
    "SGDR: Stochastic Gradient Descent with Warm Restarts",
    2017,
    {"booktitle": _ICLR, "url": "https://arxiv.org/abs/1608.03983"},
)
SMITH_2018 = Publication(
    "misc",
    "smith2018super",
    ("Smith, Leslie N.", "Topin, Nicholay"),
    "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates",
    2018,
    {"eprint": "1708.07120", "archiveprefix": "arXiv"},
)
SMITH_2017 = Publication(
    "inproceedings",
    "smith2017cyclical",
    ("Smith, Leslie N.",),
    "Cyclical Learning Rates for Training Neural Networks",
    2017,
    {
        "booktitle": "IEEE Winter Conference on Applications of Computer Vision",
        "pages": "464--472",
        "url": "https://arxiv.org/abs/1506.01186",
    },
)
VASWANI_2017 = Publication(
    "inproceedings",
    "vaswani2017attention",
    (
        *("Vaswani, Ashish", "Shazeer, Noam", "Parmar, Niki", "Uszkoreit, Jakob", "Jones, Llion"),
        *("Gomez, Aidan N.", "Kaiser, Łukasz", "Polosukhin, Illia"),
    ),
    "Attention Is All You Need",
    2017,
    {"booktitle": "Advances in Neural Information Processing Systems", "volume": "30"},
)
