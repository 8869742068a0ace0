"""What the data sets and the augmentations were published as."""

from __future__ import annotations

from sparsify.publications import Publication

_CVPR = "Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition"

LECUN_1998 = Publication(
    "article",
    "lecun1998gradient",
    ("LeCun, Yann", "Bottou, Léon", "Bengio, Yoshua", "Haffner, Patrick"),
    "Gradient-Based Learning Applied to Document Recognition",
    1998,
    {"journal": "Proceedings of the IEEE", "volume": "86", "number": "11", "pages": "2278--2324"},
)
XIAO_2017 = Publication(
    "misc",
    "xiao2017fashion",
    ("Xiao, Han", "Rasul, Kashif", "Vollgraf, Roland"),
    "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
    2017,
    {"eprint": "1708.07747", "archiveprefix": "arXiv"},
)
KRIZHEVSKY_2009 = Publication(
    "techreport",
    "krizhevsky2009learning",
    ("Krizhevsky, Alex",),
    "Learning Multiple Layers of Features from Tiny Images",
    2009,
    {"institution": "University of Toronto"},
)
ALPAYDIN_1998 = Publication(
    "misc",
    "alpaydin1998optical",
    ("Alpaydin, E.", "Kaynak, C."),
    "Optical Recognition of Handwritten Digits",
    1998,
    {"howpublished": "UCI Machine Learning Repository", "doi": "10.24432/C50P49"},
)
PEDREGOSA_2011 = Publication(
    "article",
    "pedregosa2011scikit",
    (
        *("Pedregosa, Fabian", "Varoquaux, Gaël", "Gramfort, Alexandre", "Michel, Vincent", "Thirion, Bertrand"),
        *("Grisel, Olivier", "Blondel, Mathieu", "Prettenhofer, Peter", "Weiss, Ron", "Dubourg, Vincent"),
        *("Vanderplas, Jake", "Passos, Alexandre", "Cournapeau, David", "Brucher, Matthieu", "Perrot, Matthieu"),
        "Duchesnay, Édouard",
    ),
    "Scikit-learn: Machine Learning in Python",
    2011,
    {"journal": "Journal of Machine Learning Research", "volume": "12", "pages": "2825--2830"},
)

CUBUK_2019 = Publication(
    "inproceedings",
    "cubuk2019autoaugment",
    ("Cubuk, Ekin D.", "Zoph, Barret", "Mané, Dandelion", "Vasudevan, Vijay", "Le, Quoc V."),
    "AutoAugment: Learning Augmentation Strategies from Data",
    2019,
    {"booktitle": _CVPR, "url": "https://arxiv.org/abs/1805.09501"},
)
CUBUK_2020 = Publication(
    "inproceedings",
    "cubuk2020randaugment",
    ("Cubuk, Ekin D.", "Zoph, Barret", "Shlens, Jonathon", "Le, Quoc V."),
    "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space",
    2020,
    {"booktitle": f"{_CVPR} Workshops", "url": "https://arxiv.org/abs/1909.13719"},
)
MULLER_2021 = Publication(
    "inproceedings",
    "mueller2021trivialaugment",
    ("Müller, Samuel G.", "Hutter, Frank"),
    "TrivialAugment: Tuning-Free Yet State-of-the-Art Data Augmentation",
    2021,
    {
        "booktitle": "Proceedings of the IEEE/CVF International Conference on Computer Vision",
        "url": "https://arxiv.org/abs/2103.10158",
    },
)
HENDRYCKS_2020 = Publication(
    "inproceedings",
    "hendrycks2020augmix",
    (
        *("Hendrycks, Dan", "Mu, Norman", "Cubuk, Ekin D.", "Zoph, Barret", "Gilmer, Justin"),
        "Lakshminarayanan, Balaji",
    ),
    "AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty",
    2020,
    {"booktitle": "International Conference on Learning Representations", "url": "https://arxiv.org/abs/1912.02781"},
)
ZHONG_2020 = Publication(
    "inproceedings",
    "zhong2020random",
    ("Zhong, Zhun", "Zheng, Liang", "Kang, Guoliang", "Li, Shaozi", "Yang, Yi"),
    "Random Erasing Data Augmentation",
    2020,
    {"booktitle": "AAAI Conference on Artificial Intelligence", "url": "https://arxiv.org/abs/1708.04896"},
)
JORDAN_2024 = Publication(
    "misc",
    "jordan2024cifar",
    ("Jordan, Keller",),
    "94% on CIFAR-10 in 3.29 Seconds on a Single GPU",
    2024,
    {"eprint": "2404.00498", "archiveprefix": "arXiv"},
)
