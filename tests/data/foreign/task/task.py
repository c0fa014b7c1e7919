"""In the format of gpu-mode, for the tests."""

import torch

input_t = tuple[torch.Tensor, dict, torch.Tensor]
output_t = torch.Tensor
