"""CLIP in plain PyTorch, as its authors describe it: what bench/torch_train.py measures where open_clip is not installed, or with --plain.

Pre-norm transformers, exact GELU (or QuickGELU), attention by scaled_dot_product_attention with is_causal for text, so that the fused kernels
serve it."""
import torch
from torch import nn
from torch.nn import functional

SHAPES = {  # embed, (side, patch, width, layers), (context, vocabulary, width, heads, layers)
    "ViT-B-32": (512, (224, 32, 768, 12), (77, 49408, 512, 8, 12)),
    "ViT-B-16": (512, (224, 16, 768, 12), (77, 49408, 512, 8, 12)),
    "ViT-L-14": (768, (224, 14, 1024, 24), (77, 49408, 768, 12, 12)),
}


class Block(nn.Module):
    def __init__(self, width, heads, ratio, quick, causal):
        super().__init__()
        self.heads, self.quick, self.causal = heads, quick, causal
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, int(ratio * width)), nn.Linear(int(ratio * width), width)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(self.before(x)).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, c))
        h = self.up(self.after(x))
        return x + self.down(h * torch.sigmoid(1.702 * h) if self.quick else functional.gelu(h))


class Clip(nn.Module):
    def __init__(self, embed, vision, text, quick=False):
        super().__init__()
        side, patch, width, layers, head_width, ratio = vision
        context, vocabulary, text_width, heads, text_layers, text_ratio = text
        positions = (side // patch) ** 2 + 1
        self.patches = nn.Conv2d(3, width, patch, patch, bias=False)
        self.first = nn.Parameter(width ** -0.5 * torch.randn(width))
        self.places = nn.Parameter(width ** -0.5 * torch.randn(positions, width))
        self.begin, self.end = nn.LayerNorm(width), nn.LayerNorm(width)
        self.image_blocks = nn.Sequential(*(Block(width, width // head_width, ratio, quick, False) for _ in range(layers)))
        self.image_out = nn.Parameter(width ** -0.5 * torch.randn(width, embed))
        self.tokens = nn.Embedding(vocabulary, text_width)
        self.text_places = nn.Parameter(0.01 * torch.randn(context, text_width))
        self.text_blocks = nn.Sequential(*(Block(text_width, heads, text_ratio, quick, True) for _ in range(text_layers)))
        self.text_end = nn.LayerNorm(text_width)
        self.text_out = nn.Parameter(text_width ** -0.5 * torch.randn(text_width, embed))
        self.logit_scale = nn.Parameter(torch.tensor(2.6593))

    def forward(self, images, texts):
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.to(x.dtype).expand(len(x), 1, -1), x], 1) + self.places.to(x.dtype)
        x = self.end(self.image_blocks(self.begin(x))[:, 0]) @ self.image_out
        y = self.text_end(self.text_blocks(self.tokens(texts) + self.text_places))
        y = y[torch.arange(len(y), device=y.device), texts.argmax(-1)] @ self.text_out
        return functional.normalize(x, dim=-1), functional.normalize(y, dim=-1), self.logit_scale.exp()


class ClipLoss(nn.Module):
    def forward(self, images, texts, scale):
        logits, labels = scale * images @ texts.T, torch.arange(len(images), device=images.device)
        return (functional.cross_entropy(logits, labels) + functional.cross_entropy(logits.T, labels)) / 2


def create(name, config=None):
    """The model, its image side, context length and vocabulary. `config`: a model_cfg instead of a name."""
    if config is None:
        if name not in SHAPES:
            raise SystemExit(f"without open_clip there is no model '{name}', only {', '.join(SHAPES)} or a model_cfg file")
        embed, vision, text = SHAPES[name]
        vision, text, quick = (*vision, 64, 4), (*text, 4), False
    else:
        v, t = config["vision_cfg"], config["text_cfg"]
        embed, quick = config["embed_dim"], config.get("quick_gelu", False)
        vision = (v["image_size"], v["patch_size"], v["width"], v["layers"], v.get("head_width", 64), v.get("mlp_ratio", 4))
        text = (t["context_length"], t["vocab_size"], t["width"], t["heads"], t["layers"], t.get("mlp_ratio", 4))
    return Clip(embed, vision, text, quick), vision[0], text[0], text[1]
