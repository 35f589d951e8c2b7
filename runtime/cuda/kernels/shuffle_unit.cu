// One ShuffleNet unit of QSNet in one kernel:
//
//   y = relu(expand(depthwise(shuffle(relu(squeeze(x))))) + x)
//
// x and y are FP16, channels last, (N, H, W, 32): 118 MB a frame of 1280x720 are read and
// written, where the unit's own kernels move 295 (computed). A block makes a tile of
// pixels: it squeezes the tile and one pixel around it into shared memory, 16 channels in
// FP16, then every thread makes two pixels, one above the other. Outside the picture the
// depth-wise convolution sees zeros, not squeezed zeros. Sums are FP32.
//
// Plain fused multiply-adds on purpose: 656 a pixel and unit, 7 ms of an Orin Nano Super's
// arithmetic for the twelve units at 1280x720, where their bytes take 18 (computed).
// Nothing newer than compute capability 8.0 is used, and no header, so that NVRTC alone
// compiles it. tests/runtime/cuda/test_shuffle_unit.py compiles the same lines for the
// processor and for sm_87 and sm_90.

#define CHANNELS 32
#define MIDDLE 16
#define GROUPS 2
#define TILE_WIDTH 32
#define TILE_HEIGHT 16
#define THREADS 256  // TILE_WIDTH * TILE_HEIGHT / 2

#define HALO_WIDTH (TILE_WIDTH + 2)
#define HALO_HEIGHT (TILE_HEIGHT + 2)
#define HALO_PIXELS (HALO_WIDTH * HALO_HEIGHT)
#define OCTETS (MIDDLE / 8)

// The parameters, FP32, one after the other: convolutions' weights in PyTorch's order.
#define SQUEEZE 0                                                   // (16, 32 / 2)
#define SQUEEZE_BIAS (SQUEEZE + MIDDLE * CHANNELS / GROUPS)         // (16)
#define DEPTHWISE (SQUEEZE_BIAS + MIDDLE)                           // (16, 9)
#define DEPTHWISE_BIAS (DEPTHWISE + MIDDLE * 9)                     // (16)
#define EXPAND (DEPTHWISE_BIAS + MIDDLE)                            // (32, 16 / 2)
#define EXPAND_BIAS (EXPAND + CHANNELS * MIDDLE / GROUPS)           // (32)
#define PARAMETERS (EXPAND_BIAS + CHANNELS)

#ifdef __CUDACC__
#define DEVICE static __device__ __forceinline__

DEVICE float from_half(unsigned short bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}

DEVICE unsigned short to_half(float value) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
#endif

// Eight channels of a pixel: 16 bytes, one load.
struct __align__(16) Octet {
  unsigned int pairs[4];
};

struct Shared {
  // An octet of all pixels, then the next: threads side by side read without conflict.
  Octet squeezed[OCTETS][HALO_PIXELS];
  float parameters[PARAMETERS];
};

struct Picture {
  int height, width;
};

DEVICE void unpack(const Octet& octet, float* values) {
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    values[2 * k] = from_half((unsigned short)(octet.pairs[k] & 0xffff));
    values[2 * k + 1] = from_half((unsigned short)(octet.pairs[k] >> 16));
  }
}

DEVICE Octet pack(const float* values) {
  Octet octet;
#pragma unroll
  for (int k = 0; k < 4; ++k)
    octet.pairs[k] =
        to_half(values[2 * k]) | ((unsigned int)to_half(values[2 * k + 1]) << 16);
  return octet;
}

DEVICE const Octet* pixel_of(const Octet* map, Picture picture, int y, int x) {
  return map + ((long long)y * picture.width + x) * (CHANNELS / 8);
}

DEVICE void load_parameters(int thread, const float* parameters, Shared& shared) {
  for (int k = thread; k < PARAMETERS; k += THREADS) shared.parameters[k] = parameters[k];
}

// First half: the squeezed and shuffled channels of the tile and the pixels around it.
DEVICE void squeeze_tile(int thread, const Octet* map, Picture picture, int top, int left,
                         Shared& shared) {
  const float* weights = shared.parameters + SQUEEZE;
  for (int p = thread; p < HALO_PIXELS; p += THREADS) {
    const int y = top + p / HALO_WIDTH - 1, x = left + p % HALO_WIDTH - 1;
    const bool inside = y >= 0 && x >= 0 && y < picture.height && x < picture.width;
    float sums[MIDDLE];
#pragma unroll
    for (int m = 0; m < MIDDLE; ++m)
      sums[m] = inside ? shared.parameters[SQUEEZE_BIAS + m] : 0.0f;
    if (inside) {
      const Octet* pixel = pixel_of(map, picture, y, x);
#pragma unroll
      for (int octet = 0; octet < CHANNELS / 8; ++octet) {
        float values[8];
        unpack(pixel[octet], values);
        const int group = octet * 8 / (CHANNELS / GROUPS);
        const int first = octet * 8 % (CHANNELS / GROUPS);
#pragma unroll
        for (int j = 0; j < MIDDLE / GROUPS; ++j) {
          const int m = group * (MIDDLE / GROUPS) + j;
#pragma unroll
          for (int k = 0; k < 8; ++k)
            sums[m] += weights[m * (CHANNELS / GROUPS) + first + k] * values[k];
        }
      }
    }
    float shuffled[MIDDLE];
#pragma unroll
    for (int m = 0; m < MIDDLE; ++m) {
      const int group = m / (MIDDLE / GROUPS), j = m % (MIDDLE / GROUPS);
      shuffled[j * GROUPS + group] = sums[m] > 0.0f ? sums[m] : 0.0f;
    }
#pragma unroll
    for (int octet = 0; octet < OCTETS; ++octet)
      shared.squeezed[octet][p] = pack(shuffled + 8 * octet);
  }
}

// Second half: depth-wise, expand, add, ReLU; two pixels a thread share what they read.
DEVICE void expand_tile(int thread, const Octet* map, Octet* result, Picture picture,
                        int top, int left, const Shared& shared) {
  const int column = thread % TILE_WIDTH, row = 2 * (thread / TILE_WIDTH);
  float maps[2][MIDDLE];
#pragma unroll
  for (int octet = 0; octet < OCTETS; ++octet) {
#pragma unroll
    for (int k = 0; k < 8; ++k)
      maps[0][8 * octet + k] = maps[1][8 * octet + k] =
          shared.parameters[DEPTHWISE_BIAS + 8 * octet + k];
#pragma unroll
    for (int dy = 0; dy < 4; ++dy) {
#pragma unroll
      for (int dx = 0; dx < 3; ++dx) {
        float values[8];
        unpack(shared.squeezed[octet][(row + dy) * HALO_WIDTH + column + dx], values);
#pragma unroll
        for (int k = 0; k < 8; ++k) {
          const float* taps = shared.parameters + DEPTHWISE + (8 * octet + k) * 9;
          if (dy < 3) maps[0][8 * octet + k] += taps[dy * 3 + dx] * values[k];
          if (dy > 0) maps[1][8 * octet + k] += taps[(dy - 1) * 3 + dx] * values[k];
        }
      }
    }
  }
  const int x = left + column;
#pragma unroll
  for (int which = 0; which < 2; ++which) {
    const int y = top + row + which;
    if (x >= picture.width || y >= picture.height) continue;
    const Octet* pixel = pixel_of(map, picture, y, x);
    Octet* out = result + (pixel - map);
#pragma unroll
    for (int octet = 0; octet < CHANNELS / 8; ++octet) {
      const int group = octet * 8 / (CHANNELS / GROUPS);
      float sums[8];
      unpack(pixel[octet], sums);
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        const int c = octet * 8 + k;
        sums[k] += shared.parameters[EXPAND_BIAS + c];
#pragma unroll
        for (int j = 0; j < MIDDLE / GROUPS; ++j)
          sums[k] += shared.parameters[EXPAND + c * (MIDDLE / GROUPS) + j] *
                     maps[which][group * (MIDDLE / GROUPS) + j];
        sums[k] = sums[k] > 0.0f ? sums[k] : 0.0f;
      }
      out[octet] = pack(sums);
    }
  }
}

#ifdef __CUDACC__
// Inputs, sizes, outputs: the order in which TensorRT starts an ahead-of-time kernel.
extern "C" __global__ void __launch_bounds__(THREADS)
    shuffle_unit(const Octet* maps, const float* parameters, int height, int width,
                 Octet* results) {
  __shared__ Shared shared;
  const Picture picture = {height, width};
  const int top = blockIdx.y * TILE_HEIGHT, left = blockIdx.x * TILE_WIDTH;
  const long long first = (long long)blockIdx.z * height * width * (CHANNELS / 8);
  load_parameters(threadIdx.x, parameters, shared);
  __syncthreads();
  squeeze_tile(threadIdx.x, maps + first, picture, top, left, shared);
  __syncthreads();
  expand_tile(threadIdx.x, maps + first, results + first, picture, top, left, shared);
}
#endif
