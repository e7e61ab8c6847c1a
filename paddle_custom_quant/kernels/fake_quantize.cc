// Uniform fake quantization with a fixed or learned step and offset.
#include "operator.h"

namespace pcq::fake_quantize {
namespace {

struct Grid {
  float low, high, edge;

  Grid(int qmin, int qmax)
      : low(qmin), high(qmax), edge(std::ldexp(std::max(std::fabs(low), std::fabs(high)), -20)) {}

  // x in steps; what lies outside the grid is brought to a quarter of a step outside, from where
  // it rounds to the end of the grid.
  F position(F x, F step, F inverse) const {
    return divide(clamp(x, step * (low - 0.25f), step * (high + 0.25f)), step, inverse);
  }

  I inside(F u) const { return (u >= low - edge) & (u <= high + edge); }
};

// Size of the step, its inverse and, where there is one, the offset, as tiles read them.
class Scale {
 public:
  Scale(const Tiling& tiling, const Tensor& step, const Tensor* offset, float unit)
      : step_(tiling.expand(sizes_of(step, unit).data())), inverse_(inverse_of(step_)) {
    PD_CHECK(!offset || offset->numel() == step.numel(), "offset has another shape than step");
    if (offset) offset_ = tiling.expand(values_of(*offset));
  }

  template <bool kOffset>
  auto parameters() const {
    if constexpr (kOffset) {
      return std::array<const float*, 3>{step_.data(), inverse_.data(), offset_.data()};
    } else {
      return std::array<const float*, 2>{step_.data(), inverse_.data()};
    }
  }

 private:
  std::vector<float> step_, inverse_, offset_;
};

template <bool kOffset>
Tensor quantized(const Tensor& x, const Tensor& step, const Tensor* offset, int qmin, int qmax,
                 int axis, float unit) {
  const Tiling tiling = tiling_of(x, step, axis);
  const Scale scale(tiling, step, offset, unit);
  const Grid grid(qmin, qmax);
  Tensor y = paddle::empty_like(x);
  sweep<0>(tiling, std::array{values_of(x)}, y.data<float>(), scale.parameters<kOffset>(),
           [=](const auto& in, const auto& p, auto&, auto) {
             F from = in[0];
             if constexpr (kOffset) from = from - p[2];
             F level = nearest(grid.position(from, p[0], p[1])) * p[0];
             if constexpr (kOffset) level = level + p[2];
             return level;
           });
  return y;
}

// Gradients to x, and to step and offset where the rule has them.
template <bool kOffset, Rule kRule>
std::vector<Tensor> gradients(const Tensor& x, const Tensor& step, const Tensor* offset,
                              const Tensor& dy, int qmin, int qmax, int axis, float unit,
                              float factor) {
  constexpr int kSums = kRule == kRange ? 0 : kOffset ? 2 : 1;
  const Tiling tiling = tiling_of(x, step, axis);
  const Scale scale(tiling, step, offset, unit);
  const Grid grid(qmin, qmax);
  Tensor dx = paddle::empty_like(x);
  const std::vector<double> sums = sweep<kSums>(
      tiling, std::array{values_of(x), values_of(dy)}, dx.data<float>(),
      scale.parameters<kOffset>(), [=](const auto& in, const auto& p, auto& terms, auto) {
        F from = in[0], g = in[1];
        if constexpr (kOffset) from = from - p[2];
        F u = grid.position(from, p[0], p[1]);
        I inside = grid.inside(u);
        if constexpr (kRule == kStraightSlope) {
          F level = nearest(u);
          terms[0] = g * (inside ? level - u : level);
        } else if constexpr (kRule == kClip) {
          terms[0] = g * (only(u >= grid.high - grid.edge, all(grid.high)) +
                          only(u <= grid.low + grid.edge, all(grid.low)));
        }
        if constexpr (kSums == 2) terms[1] = only(~inside, g);
        return only(inside, g);
      });
  std::vector<Tensor> all{dx};
  const Tensor* parameters[] = {&step, offset};
  for (int k = 0; k < kSums; ++k) {
    std::vector<double> totals = tiling.by_channel<Add>(sums, k);
    if (parameters[k] == &step) {
      const float* value = values_of(step);
      for (double& total : totals) total *= unit * slope_of_size(*value++);
    }
    all.push_back(gradient(*parameters[k], totals, factor));
  }
  return all;
}

std::vector<Tensor> fixed(const Tensor& x, const Tensor& step, const Tensor& offset, int qmin,
                          int qmax, int axis, float unit, bool has_offset) {
  return {has_offset ? quantized<true>(x, step, &offset, qmin, qmax, axis, unit)
                     : quantized<false>(x, step, nullptr, qmin, qmax, axis, unit)};
}

std::vector<Tensor> fixed_grad(const Tensor& x, const Tensor& step, const Tensor& offset,
                               const Tensor& dy, int qmin, int qmax, int axis, float unit,
                               bool has_offset) {
  return has_offset ? gradients<true, kRange>(x, step, &offset, dy, qmin, qmax, axis, unit, 0)
                    : gradients<false, kRange>(x, step, nullptr, dy, qmin, qmax, axis, unit, 0);
}

std::vector<Tensor> step_only(const Tensor& x, const Tensor& step, int qmin, int qmax, int axis,
                              float unit, int, float) {
  return {quantized<false>(x, step, nullptr, qmin, qmax, axis, unit)};
}

std::vector<Tensor> step_only_grad(const Tensor& x, const Tensor& step, const Tensor& dy, int qmin,
                                   int qmax, int axis, float unit, int rule, float factor) {
  const auto run = rule == kClip ? gradients<false, kClip> : gradients<false, kStraightSlope>;
  return run(x, step, nullptr, dy, qmin, qmax, axis, unit, factor);
}

std::vector<Tensor> step_offset(const Tensor& x, const Tensor& step, const Tensor& offset, int qmin,
                                int qmax, int axis, float unit, int, float) {
  return {quantized<true>(x, step, &offset, qmin, qmax, axis, unit)};
}

std::vector<Tensor> step_offset_grad(const Tensor& x, const Tensor& step, const Tensor& offset,
                                     const Tensor& dy, int qmin, int qmax, int axis, float unit,
                                     int rule, float factor) {
  const auto run = rule == kClip ? gradients<true, kClip> : gradients<true, kStraightSlope>;
  return run(x, step, &offset, dy, qmin, qmax, axis, unit, factor);
}

}  // namespace
}  // namespace pcq::fake_quantize

PD_BUILD_OP(pcq_fake_quantize_fixed)
    .Inputs({"X", "Step", "Offset"})
    .Outputs({"Out"})
    .Attrs({"qmin: int", "qmax: int", "axis: int", "unit: float", "has_offset: bool"})
    .SetKernelFn(PD_KERNEL(pcq::fake_quantize::fixed))
    .SetInferShapeFn(PD_INFER_SHAPE(pcq::shape_of_first<const pcq::Shape&, const pcq::Shape&>))
    .SetInferDtypeFn(PD_INFER_DTYPE(pcq::dtype_of_first<const pcq::DataType&, const pcq::DataType&>));
PD_BUILD_GRAD_OP(pcq_fake_quantize_fixed)
    .Inputs({"X", "Step", "Offset", paddle::Grad("Out")})
    .Outputs({paddle::Grad("X")})
    .Attrs({"qmin: int", "qmax: int", "axis: int", "unit: float", "has_offset: bool"})
    .SetKernelFn(PD_KERNEL(pcq::fake_quantize::fixed_grad));

PD_BUILD_OP(pcq_fake_quantize_step)
    .Inputs({"X", "Step"})
    .Outputs({"Out"})
    .Attrs({"qmin: int", "qmax: int", "axis: int", "unit: float", "rule: int",
            "gradient_scale: float"})
    .SetKernelFn(PD_KERNEL(pcq::fake_quantize::step_only))
    .SetInferShapeFn(PD_INFER_SHAPE(pcq::shape_of_first<const pcq::Shape&>))
    .SetInferDtypeFn(PD_INFER_DTYPE(pcq::dtype_of_first<const pcq::DataType&>));
PD_BUILD_GRAD_OP(pcq_fake_quantize_step)
    .Inputs({"X", "Step", paddle::Grad("Out")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Step")})
    .Attrs({"qmin: int", "qmax: int", "axis: int", "unit: float", "rule: int",
            "gradient_scale: float"})
    .SetKernelFn(PD_KERNEL(pcq::fake_quantize::step_only_grad));

PD_BUILD_OP(pcq_fake_quantize_step_offset)
    .Inputs({"X", "Step", "Offset"})
    .Outputs({"Out"})
    .Attrs({"qmin: int", "qmax: int", "axis: int", "unit: float", "rule: int",
            "gradient_scale: float"})
    .SetKernelFn(PD_KERNEL(pcq::fake_quantize::step_offset))
    .SetInferShapeFn(PD_INFER_SHAPE(pcq::shape_of_first<const pcq::Shape&, const pcq::Shape&>))
    .SetInferDtypeFn(PD_INFER_DTYPE(pcq::dtype_of_first<const pcq::DataType&, const pcq::DataType&>));
PD_BUILD_GRAD_OP(pcq_fake_quantize_step_offset)
    .Inputs({"X", "Step", "Offset", paddle::Grad("Out")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Step"), paddle::Grad("Offset")})
    .Attrs({"qmin: int", "qmax: int", "axis: int", "unit: float", "rule: int",
            "gradient_scale: float"})
    .SetKernelFn(PD_KERNEL(pcq::fake_quantize::step_offset_grad));
