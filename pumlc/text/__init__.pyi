from .data.readers import read_corpus as read_corpus
from .data.text_split import TextSplit as TextSplit
from .data.tokens import (
    TokenizedTexts as TokenizedTexts,
    cached_tokens as cached_tokens,
    tokenize as tokenize,
)
from .models.embedding import embed as embed
from .models.encoder import DualEncoder as DualEncoder, TextEncoder as TextEncoder
from .models.head import Head as Head
from .models.label_vectors import LabelVectors as LabelVectors
from .models.pretrained import load_encoder as load_encoder, load_tokenizer as load_tokenizer
from .models.sentence_transformers import read_head as read_head
from .predictor import TextPrediction as TextPrediction, TextPredictor as TextPredictor
from .retrieval.search import faiss_search as faiss_search, search as search
from .training.gradcache import Side as Side, cached_backward as cached_backward
