// Differentiable soft quantization: rounded forward, a chain of tanh backward.
#include "operator.h"
#include "tanh.h"

namespace pcq::dsq {
namespace {

// What the formula takes from low, high and alpha.
struct Soft {
  Soft(const Tiling& tiling, const Tensor& low, const Tensor& high, int bits)
      : steps(std::ldexp(1.0f, bits) - 1.0f), edge(std::ldexp(steps, -20)) {
    PD_CHECK(high.numel() == low.numel(), "high has another shape than low");
    const float *from = values_of(low), *to = values_of(high);
    std::vector<float> width(low.numel());
    for (size_t c = 0; c < width.size(); ++c) {
      width[c] = range_of(to[c] - from[c]) / steps;
    }
    this->low = tiling.expand(from);
    this->width = tiling.expand(width.data());
    inverse = inverse_of(this->width);
  }

  std::array<const float*, 3> parameters() const {
    return {low.data(), width.data(), inverse.data()};
  }

  // NaN passes both comparisons.
  static float range_of(float range) {
    const float size = std::fabs(range);
    return size < kLeast ? kLeast : size > kMost ? kMost : size;
  }

  static constexpr float kLeast = 0x1p-60f, kMost = 3.0e38f;
  float steps, edge;
  std::vector<float> low, width, inverse;
};

// (x - low) / width, at most a quarter step outside [0, steps].
F position(F x, F low, F width, F inverse, float steps) {
  return divide(clamp(x - low, width * -0.25f, width * (steps + 0.25f)), width, inverse);
}

std::vector<Tensor> forward(const Tensor& x, const Tensor& low, const Tensor& high, const Tensor&,
                            int bits, int axis) {
  const Tiling tiling = tiling_of(x, low, axis);
  const Soft soft(tiling, low, high, bits);
  Tensor y = paddle::empty_like(x);
  sweep<0>(tiling, std::array{values_of(x)}, y.data<float>(), soft.parameters(),
           [steps = soft.steps](const auto& in, const auto& p, auto&, auto) {
             return nearest(position(in[0], p[0], p[1], p[2], steps)) * p[1] + p[0];
           });
  return {y};
}

std::vector<Tensor> backward(const Tensor& x, const Tensor& low, const Tensor& high,
                             const Tensor& alpha, const Tensor& dy, int bits, int axis) {
  const Tiling tiling = tiling_of(x, low, axis);
  const Soft soft(tiling, low, high, bits);
  const double a = values_of(alpha)[0];
  // In steps: soft = height tanh(sharpness (u - middle)) + middle.
  const double height = 0.5 / (1 - a), sharpness = std::log(2 / a - 1);
  const double height_slope = 0.5 / ((1 - a) * (1 - a)), sharpness_slope = -2 / (a * (2 - a));
  Tensor dx = paddle::empty_like(x);
  const std::vector<double> sums = sweep<3>(
      tiling, std::array{values_of(x), values_of(dy)}, dx.data<float>(), soft.parameters(),
      [steps = soft.steps, edge = soft.edge, sharp = static_cast<float>(sharpness),
       steepest = static_cast<float>(height * sharpness),
       by_height = static_cast<float>(height_slope),
       by_sharpness = static_cast<float>(height * sharpness_slope),
       tanh = BoundedTanh((0.5f + soft.edge) * static_cast<float>(sharpness))](
          const auto& in, const auto& p, auto& terms, auto) {
        const F g = in[1], u = position(in[0], p[0], p[1], p[2], steps), level = nearest(u);
        const I inside = (u >= -edge) & (u <= steps + edge);
        // On a level either of the two intervals will do; outside, soft is constant.
        const F from_level = u - level;
        const F from_middle = only(inside, from_level - with_sign_of(all(0.5f), from_level));
        const F t = tanh(from_middle * sharp), falling = fma(-t, t, all(1.0f));
        const F dx = only(inside, g * (falling * steepest));
        terms[0] = g - dx;
        terms[1] = fma(-dx, u, g * level);
        terms[2] = g * fma(t, all(by_height), from_middle * falling * by_sharpness);
        return dx;
      });
  const std::vector<double> to_low = tiling.by_channel<Add>(sums, 0);
  const std::vector<double> to_width = tiling.by_channel<Add>(sums, 1);
  const std::vector<double> to_alpha = tiling.by_channel<Add>(sums, 2);
  std::vector<double> low_sums(to_low.size()), high_sums(to_low.size()), alpha_sum(1);
  const float *from = values_of(low), *to = values_of(high);
  for (size_t c = 0; c < to_low.size(); ++c) {
    const float range = to[c] - from[c], used = Soft::range_of(range);
    const bool free = used == std::fabs(range);
    high_sums[c] = free ? std::copysign(1.0, range) * to_width[c] / soft.steps : 0.0;
    low_sums[c] = to_low[c] - high_sums[c];
    alpha_sum[0] += to_alpha[c] * used / soft.steps;
  }
  return {dx, gradient(low, low_sums, 1), gradient(high, high_sums, 1),
          gradient(alpha, alpha_sum, 1)};
}

}  // namespace
}  // namespace pcq::dsq

PD_BUILD_OP(pcq_dsq)
    .Inputs({"X", "Low", "High", "Alpha"})
    .Outputs({"Out"})
    .Attrs({"bits: int", "axis: int"})
    .SetKernelFn(PD_KERNEL(pcq::dsq::forward))
    .SetInferShapeFn(PD_INFER_SHAPE(pcq::shape_of_first<const pcq::Shape&, const pcq::Shape&,
                                                        const pcq::Shape&>))
    .SetInferDtypeFn(PD_INFER_DTYPE(pcq::dtype_of_first<const pcq::DataType&, const pcq::DataType&,
                                                        const pcq::DataType&>));
PD_BUILD_GRAD_OP(pcq_dsq)
    .Inputs({"X", "Low", "High", "Alpha", paddle::Grad("Out")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Low"), paddle::Grad("High"),
              paddle::Grad("Alpha")})
    .Attrs({"bits: int", "axis: int"})
    .SetKernelFn(PD_KERNEL(pcq::dsq::backward));
