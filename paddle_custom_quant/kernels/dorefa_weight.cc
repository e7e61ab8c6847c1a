// DoReFa's weights: 2 quantize_k(tanh(w) / (2 max|tanh w|) + 1/2) - 1; one bit: sign(w) E|w|.
#include "operator.h"
#include "tanh.h"

namespace pcq::dorefa_weight {
namespace {

Tiling tiling_of(const Tensor& w, int axis) {
  const Shape shape = w.shape();
  return Tiling(shape, axis, axis < 0 ? 1 : shape.at(axis));
}

// The sum or the maximum of |w| in each channel.
template <class Join>
std::vector<double> sizes_of(const Tensor& w, const Tiling& tiling) {
  const std::array<const float*, 0> none{};
  return tiling.by_channel<Join>(
      sweep<1, Join>(tiling, std::array{values_of(w)}, nullptr, none,
                     [](const auto& in, const auto&, auto& terms, auto) {
                       terms[0] = absolute(in[0]);
                       return in[0];
                     }),
      0);
}

Tensor as_tensor(const std::vector<double>& values) {
  const Shape shape{static_cast<int64_t>(values.size())};
  Tensor tensor = paddle::empty(shape, DataType::FLOAT32, paddle::CPUPlace());
  std::copy(values.begin(), values.end(), tensor.data<float>());
  return tensor;
}

// Of each channel: t * to_steps is t in steps, times from_steps takes it back.
struct Factors {
  Factors(const Tensor& largest, int bits, bool rescale)
      : half(std::ldexp(1.0f, bits - 1) - 0.5f),
        to_steps(largest.numel()),
        from_steps(largest.numel()) {
    const float* sizes = values_of(largest);
    for (size_t c = 0; c < to_steps.size(); ++c) {
      const float top = tanh(all(sizes[c]))[0];
      // All-zero weights: one in the place of the maximum, and no height.
      to_steps[c] = half / (top == 0 ? 1.0f : top);
      from_steps[c] = (rescale ? sizes[c] : top == 0 ? 0.0f : 1.0f) * (1.0f / half);
      bound = std::max(bound, sizes[c]);
    }
  }

  float half, bound = 0;
  std::vector<float> to_steps, from_steps;
};

Tensor one_bit(const Tensor& w, const Tensor& mean, const Tiling& tiling) {
  Tensor y = paddle::empty_like(w);
  const std::vector<float> sizes = tiling.expand(values_of(mean));
  sweep<0>(tiling, std::array{values_of(w)}, y.data<float>(), std::array{sizes.data()},
           [](const auto& in, const auto& p, auto&, auto) {
             // The difference is zero, or NaN where w is not finite.
             return (in[0] >= 0.0f ? p[0] : -p[0]) + (in[0] - in[0]);
           });
  return y;
}

std::vector<Tensor> forward(const Tensor& w, int bits, int axis, bool, bool rescale) {
  const Tiling tiling = tiling_of(w, axis);
  if (bits == 1) {
    std::vector<double> mean = sizes_of<Add>(w, tiling);
    for (double& size : mean) size *= static_cast<double>(mean.size()) / tiling.elements();
    const Tensor sizes = as_tensor(mean);
    return {one_bit(w, sizes, tiling), sizes};
  }
  const Tensor sizes = as_tensor(sizes_of<Larger>(w, tiling));
  const Factors factors(sizes, bits, rescale);
  const std::vector<float> to_steps = tiling.expand(factors.to_steps.data());
  const std::vector<float> from_steps = tiling.expand(factors.from_steps.data());
  Tensor y = paddle::empty_like(w);
  sweep<0>(tiling, std::array{values_of(w)}, y.data<float>(),
           std::array{to_steps.data(), from_steps.data()},
           [half = factors.half, tanh = BoundedTanh(factors.bound)](const auto& in, const auto& p,
                                                                    auto&, auto) {
             return (nearest(tanh(in[0]) * p[0] + half) - half) * p[1];
           });
  return {y, sizes};
}

// Add what reaches the largest weights through the maximum. `sums` holds, of every tile, the sum of
// the gradient to t / max|t| times that, and the number of largest weights.
void add_through_maximum(const Tensor& w, const Tensor& sizes, const Tiling& tiling,
                         const Factors& factors, const std::vector<double>& sums, Tensor* dw) {
  const float *x = values_of(w), *largest = values_of(sizes);
  float* to = dw->data<float>();
  const std::vector<double> slope = tiling.by_channel<Add>(sums, 0);
  const double* found = sums.data() + tiling.sums();
  tiling.for_each_sum([&](const Tile& tile, int64_t column) {
    const int64_t c = tiling.channel_of(tile, column);
    if (found[tile.sums + column] == 0 || largest[c] == 0) return;
    const double top = tanh(all(largest[c]))[0];
    const double change = slope[c] * factors.to_steps[c] / top * (1 - top * top);
    tiling.for_each_element(tile, column, [&](int64_t i) {
      if (std::fabs(x[i]) == largest[c]) to[i] -= x[i] > 0 ? change : -change;
    });
  });
}

std::vector<Tensor> backward(const Tensor& w, const Tensor& sizes, const Tensor& dy, int bits,
                             int axis, bool detach_max, bool rescale) {
  const Tiling tiling = tiling_of(w, axis);
  Tensor dw = paddle::empty_like(w);
  if (bits == 1) {
    std::copy_n(values_of(dy), dy.numel(), dw.data<float>());
    return {dw};
  }
  const Factors factors(sizes, bits, rescale);
  const std::vector<float> to_steps = tiling.expand(factors.to_steps.data());
  const std::vector<float> from_steps = tiling.expand(factors.from_steps.data());
  const std::vector<float> largest = tiling.expand(values_of(sizes));
  const std::array parameters{to_steps.data(), from_steps.data(), largest.data()};
  const std::vector<double> sums = sweep<2>(
      tiling, std::array{values_of(w), values_of(dy)}, dw.data<float>(), parameters,
      [tanh = BoundedTanh(factors.bound)](const auto& in, const auto& p, auto& terms, auto) {
        const F t = tanh(in[0]), g = in[1] * p[1];
        terms[0] = g * t;
        terms[1] = only(absolute(in[0]) == p[2], all(1.0f));
        return g * p[0] * (1.0f - t * t);
      });
  if (!detach_max) add_through_maximum(w, sizes, tiling, factors, sums, &dw);
  return {dw};
}

std::vector<Shape> shapes(const Shape& w, int, int axis, bool, bool) {
  return {w, {axis < 0 ? 1 : w[axis]}};
}

std::vector<DataType> dtypes(const DataType& w) { return {w, w}; }

}  // namespace
}  // namespace pcq::dorefa_weight

PD_BUILD_OP(pcq_dorefa_weight)
    .Inputs({"X"})
    .Outputs({"Out", "Size"})
    .Attrs({"bits: int", "axis: int", "detach_max: bool", "rescale: bool"})
    .SetKernelFn(PD_KERNEL(pcq::dorefa_weight::forward))
    .SetInferShapeFn(PD_INFER_SHAPE(pcq::dorefa_weight::shapes))
    .SetInferDtypeFn(PD_INFER_DTYPE(pcq::dorefa_weight::dtypes));
PD_BUILD_GRAD_OP(pcq_dorefa_weight)
    .Inputs({"X", "Size", paddle::Grad("Out")})
    .Outputs({paddle::Grad("X")})
    .Attrs({"bits: int", "axis: int", "detach_max: bool", "rescale: bool"})
    .SetKernelFn(PD_KERNEL(pcq::dorefa_weight::backward));
