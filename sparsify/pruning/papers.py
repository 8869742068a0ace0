"""What the criteria were published as."""

from __future__ import annotations

from sparsify.publications import Publication

JANOWSKY_1989 = Publication(
    "article",
    "janowsky1989pruning",
    ("Janowsky, Steven A.",),
    "Pruning Versus Clipping in Neural Networks",
    1989,
    {
        "journal": "Physical Review A",
        "volume": "39",
        "number": "12",
        "pages": "6600--6603",
        "doi": "10.1103/PhysRevA.39.6600",
    },
)
LI_2017 = Publication(
    "inproceedings",
    "li2017pruning",
    ("Li, Hao", "Kadav, Asim", "Durdanovic, Igor", "Samet, Hanan", "Graf, Hans Peter"),
    "Pruning Filters for Efficient ConvNets",
    2017,
    {"booktitle": "International Conference on Learning Representations", "url": "https://arxiv.org/abs/1608.08710"},
)
MOLCHANOV_2019 = Publication(
    "inproceedings",
    "molchanov2019importance",
    ("Molchanov, Pavlo", "Mallya, Arun", "Tyree, Stephen", "Frosio, Iuri", "Kautz, Jan"),
    "Importance Estimation for Neural Network Pruning",
    2019,
    {
        "booktitle": "Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition",
        "pages": "11264--11272",
        "url": "https://arxiv.org/abs/1906.10771",
    },
)
LECUN_1990 = Publication(
    "inproceedings",
    "lecun1990optimal",
    ("LeCun, Yann", "Denker, John S.", "Solla, Sara A."),
    "Optimal Brain Damage",
    1990,
    {"booktitle": "Advances in Neural Information Processing Systems", "volume": "2", "pages": "598--605"},
)
HE_2019 = Publication(
    "inproceedings",
    "he2019filter",
    ("He, Yang", "Liu, Ping", "Wang, Ziwei", "Hu, Zhilan", "Yang, Yi"),
    "Filter Pruning via Geometric Median for Deep Convolutional Neural Networks Acceleration",
    2019,
    {
        "booktitle": "Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition",
        "pages": "4340--4349",
        "url": "https://arxiv.org/abs/1811.00250",
    },
)
LEE_2021 = Publication(
    "inproceedings",
    "lee2021layer",
    ("Lee, Jaeho", "Park, Sejun", "Mo, Sangwoo", "Ahn, Sungsoo", "Shin, Jinwoo"),
    "Layer-Adaptive Sparsity for the Magnitude-Based Pruning",
    2021,
    {"booktitle": "International Conference on Learning Representations", "url": "https://arxiv.org/abs/2010.07611"},
)
