"""What the networks, their weights and what is recorded of them were published as."""

from __future__ import annotations

from sparsify.publications import Publication

CLEVERT_2016 = Publication(
    "inproceedings",
    "clevert2016fast",
    ("Clevert, Djork-Arné", "Unterthiner, Thomas", "Hochreiter, Sepp"),
    "Fast and Accurate Deep Network Learning by Exponential Linear Units (ELUs)",
    2016,
    {"booktitle": "International Conference on Learning Representations", "url": "https://arxiv.org/abs/1511.07289"},
)
SIMONYAN_2015 = Publication(
    "inproceedings",
    "simonyan2015very",
    ("Simonyan, Karen", "Zisserman, Andrew"),
    "Very Deep Convolutional Networks for Large-Scale Image Recognition",
    2015,
    {"booktitle": "International Conference on Learning Representations", "url": "https://arxiv.org/abs/1409.1556"},
)
HE_2016 = Publication(
    "inproceedings",
    "he2016deep",
    ("He, Kaiming", "Zhang, Xiangyu", "Ren, Shaoqing", "Sun, Jian"),
    "Deep Residual Learning for Image Recognition",
    2016,
    {
        "booktitle": "Proceedings of the IEEE Conference on Computer Vision and Pattern Recognition",
        "pages": "770--778",
    },
)
PAGE_2018 = Publication(
    "misc", "page2018how", ("Page, David",), "How to Train Your ResNet", 2018, {"howpublished": "Myrtle.ai"}
)
KRIZHEVSKY_2014 = Publication(
    "misc",
    "krizhevsky2014one",
    ("Krizhevsky, Alex",),
    "One Weird Trick for Parallelizing Convolutional Neural Networks",
    2014,
    {"eprint": "1404.5997", "archiveprefix": "arXiv"},
)
IOFFE_2015 = Publication(
    "inproceedings",
    "ioffe2015batch",
    ("Ioffe, Sergey", "Szegedy, Christian"),
    "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift",
    2015,
    {"booktitle": "Proceedings of the 32nd International Conference on Machine Learning", "pages": "448--456"},
)
SANTURKAR_2018 = Publication(
    "inproceedings",
    "santurkar2018how",
    ("Santurkar, Shibani", "Tsipras, Dimitris", "Ilyas, Andrew", "Mądry, Aleksander"),
    "How Does Batch Normalization Help Optimization?",
    2018,
    {"booktitle": "Advances in Neural Information Processing Systems", "volume": "31"},
)
RUSSAKOVSKY_2015 = Publication(
    "article",
    "russakovsky2015imagenet",
    (
        *("Russakovsky, Olga", "Deng, Jia", "Su, Hao", "Krause, Jonathan", "Satheesh, Sanjeev", "Ma, Sean"),
        *("Huang, Zhiheng", "Karpathy, Andrej", "Khosla, Aditya", "Bernstein, Michael", "Berg, Alexander C."),
        "Fei-Fei, Li",
    ),
    "ImageNet Large Scale Visual Recognition Challenge",
    2015,
    {
        "journal": "International Journal of Computer Vision",
        "volume": "115",
        "number": "3",
        "pages": "211--252",
    },
)
TORCHVISION_2016 = Publication(
    "software",
    "torchvision2016",
    ("{TorchVision maintainers and contributors}",),
    "TorchVision: PyTorch's Computer Vision Library",
    2016,
    {"url": "https://github.com/pytorch/vision"},
)
