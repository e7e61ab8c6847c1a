// Look-up of levels between thresholds, straight-through gradient.
#include <limits>
#include <numeric>

#include "operator.h"

namespace pcq::nearest_level {
namespace {

// Rows of numbers: one row for the whole tensor (`kShared`), or one for each channel, in which case
// the k-th numbers of all rows stand together, laid out as tiles read parameters.
template <bool kShared>
class Rows {
 public:
  // Rows are filled up to `length` with infinity.
  Rows(const Tiling& tiling, const Tensor& rows, int64_t length) {
    const int64_t given = rows.shape().back(), channels = kShared ? 1 : tiling.channels();
    const float* from = values_of(rows);
    std::vector<float> column(channels);
    for (int64_t k = 0; k < length; ++k) {
      for (int64_t c = 0; c < channels; ++c) {
        column[c] = k < given ? from[c * given + k] : std::numeric_limits<float>::infinity();
      }
      const std::vector<float> laid_out = kShared ? column : tiling.expand(column.data());
      apart_ = laid_out.size();
      values_.insert(values_.end(), laid_out.begin(), laid_out.end());
    }
  }

  template <class Where>
  F at(int64_t k, const Where& where) const {
    return kShared ? all(values_[k]) : where.read(values_.data() + k * apart_);
  }

  template <class Where>
  F at(I k, const Where& where) const {
    if (kShared) return gather(values_.data(), k);
    return gather(values_.data(), k * static_cast<int32_t>(apart_) + where.indices());
  }

 private:
  std::vector<float> values_;
  int64_t apart_ = 1;
};

template <bool kShared>
class LevelTable {
 public:
  LevelTable(const Tiling& tiling, const Tensor& levels, const Tensor& thresholds)
      : count_(levels.shape().back()),
        first_probe_(highest_bit(count_ - 1)),
        levels_(tiling, levels, count_),
        thresholds_(tiling, thresholds, std::max<int64_t>(2 * first_probe_ - 1, 0)) {}

  // The level of u; NaN stays.
  template <class Where>
  F look_up(F u, const Where& where) const {
    F level;
    if (count_ <= kFew) {
      level = levels_.at(int64_t{0}, where);
#pragma GCC unroll 4
      for (int64_t k = 1; k < count_; ++k) {
        level = u > thresholds_.at(k - 1, where) ? levels_.at(k, where) : level;
      }
    } else {
      I below{};
      for (int32_t probe = first_probe_; probe > 0; probe /= 2) {
        below += (u > thresholds_.at(below + (probe - 1), where)) & probe;
      }
      level = levels_.at(below, where);
    }
    return u == u ? level : u;
  }

 private:
  // Up to here comparing with every threshold is faster than a binary search.
  static constexpr int64_t kFew = 32;

  static int32_t highest_bit(int64_t n) {
    int32_t bit = n > 0;
    while (2 * bit <= n) bit *= 2;
    return bit;
  }

  int64_t count_;
  int32_t first_probe_;
  Rows<kShared> levels_, thresholds_;
};

// Where the gradient to x passes, of each channel, in units of the levels.
struct Bounds {
  Bounds(const Tiling& tiling, const Tensor& levels, bool below) {
    const int64_t count = levels.shape().back();
    std::vector<float> low(tiling.channels()), high(tiling.channels());
    for (size_t c = 0; c < low.size(); ++c) {
      const float* row = values_of(levels) + (levels.numel() > count ? c * count : 0);
      const float edge = std::ldexp(std::max(std::fabs(row[0]), std::fabs(row[count - 1])), -20);
      low[c] = below ? -0x1p96f : row[0] - edge;
      high[c] = row[count - 1] + edge;
    }
    this->low = tiling.expand(low.data());
    this->high = tiling.expand(high.data());
  }

  std::vector<float> low, high;
};

// Scale may be null.
Tiling tiling_of(const Tensor& x, const Tensor& levels, const Tensor* scale, int axis) {
  const bool by_channel = levels.shape().size() > 1 || (scale && scale->numel() > 1);
  const Shape shape = x.shape();
  return Tiling(shape, axis, by_channel ? shape.at(axis) : 1);
}

std::vector<float> expanded(const Tiling& tiling, const Tensor* scale) {
  if (!scale) return tiling.expand(std::vector<float>(tiling.channels(), 1.0f).data());
  if (scale->numel() > 1) return tiling.expand(values_of(*scale));
  return tiling.expand(std::vector<float>(tiling.channels(), values_of(*scale)[0]).data());
}

template <bool kShared>
Tensor quantized(const Tensor& x, const Tensor& levels, const Tensor& thresholds,
                 const Tensor* scale, int axis) {
  const Tiling tiling = tiling_of(x, levels, scale, axis);
  const LevelTable<kShared> table(tiling, levels, thresholds);
  const std::vector<float> scales = expanded(tiling, scale);
  Tensor y = paddle::empty_like(x);
  sweep<0>(tiling, std::array{values_of(x)}, y.data<float>(), std::array{scales.data()},
           [&](const auto& in, const auto& p, auto&, const auto& where) {
             return table.look_up(in[0] / p[0], where) * p[0];
           });
  return y;
}

template <bool kShared>
std::vector<Tensor> scaled_gradients(const Tensor& x, const Tensor& levels,
                                     const Tensor& thresholds, const Tensor& scale,
                                     const Tensor& dy, int axis, bool below, float factor) {
  const Tiling tiling = tiling_of(x, levels, &scale, axis);
  const LevelTable<kShared> table(tiling, levels, thresholds);
  const Bounds bounds(tiling, levels, below);
  const std::vector<float> scales = expanded(tiling, &scale);
  Tensor dx = paddle::empty_like(x);
  const std::vector<double> sums = sweep<1>(
      tiling, std::array{values_of(x), values_of(dy)}, dx.data<float>(),
      std::array{scales.data(), bounds.low.data(), bounds.high.data()},
      [&](const auto& in, const auto& p, auto& terms, const auto& where) {
        const F u = in[0] / p[0], g = in[1];
        const I inside = (u >= p[1]) & (u <= p[2]);
        terms[0] = g * (table.look_up(u, where) - only(inside, u));
        return only(inside, g);
      });
  std::vector<double> to_scale = tiling.by_channel<Add>(sums, 0);
  if (scale.numel() == 1) to_scale = {std::accumulate(to_scale.begin(), to_scale.end(), 0.0)};
  return {dx, gradient(scale, to_scale, factor)};
}

std::vector<Tensor> plain(const Tensor& x, const Tensor& levels, const Tensor& thresholds, int axis,
                          bool) {
  const auto run = levels.shape().size() > 1 ? quantized<false> : quantized<true>;
  return {run(x, levels, thresholds, nullptr, axis)};
}

std::vector<Tensor> plain_grad(const Tensor& x, const Tensor& levels, const Tensor& dy, int axis,
                               bool below) {
  const Tiling tiling = tiling_of(x, levels, nullptr, axis);
  const Bounds bounds(tiling, levels, below);
  Tensor dx = paddle::empty_like(x);
  sweep<0>(tiling, std::array{values_of(x), values_of(dy)}, dx.data<float>(),
           std::array{bounds.low.data(), bounds.high.data()},
           [](const auto& in, const auto& p, auto&, auto) {
             return only((in[0] >= p[0]) & (in[0] <= p[1]), in[1]);
           });
  return {dx};
}

std::vector<Tensor> scaled(const Tensor& x, const Tensor& levels, const Tensor& thresholds,
                           const Tensor& scale, int axis, bool, float) {
  const auto run = levels.shape().size() > 1 ? quantized<false> : quantized<true>;
  return {run(x, levels, thresholds, &scale, axis)};
}

std::vector<Tensor> scaled_grad(const Tensor& x, const Tensor& levels, const Tensor& thresholds,
                                const Tensor& scale, const Tensor& dy, int axis, bool below,
                                float factor) {
  const auto run = levels.shape().size() > 1 ? scaled_gradients<false> : scaled_gradients<true>;
  return run(x, levels, thresholds, scale, dy, axis, below, factor);
}

}  // namespace
}  // namespace pcq::nearest_level

PD_BUILD_OP(pcq_nearest_level)
    .Inputs({"X", "Levels", "Thresholds"})
    .Outputs({"Out"})
    .Attrs({"axis: int", "below: bool"})
    .SetKernelFn(PD_KERNEL(pcq::nearest_level::plain))
    .SetInferShapeFn(PD_INFER_SHAPE(pcq::shape_of_first<const pcq::Shape&, const pcq::Shape&>))
    .SetInferDtypeFn(PD_INFER_DTYPE(pcq::dtype_of_first<const pcq::DataType&, const pcq::DataType&>));
PD_BUILD_GRAD_OP(pcq_nearest_level)
    .Inputs({"X", "Levels", paddle::Grad("Out")})
    .Outputs({paddle::Grad("X")})
    .Attrs({"axis: int", "below: bool"})
    .SetKernelFn(PD_KERNEL(pcq::nearest_level::plain_grad));

PD_BUILD_OP(pcq_nearest_level_scaled)
    .Inputs({"X", "Levels", "Thresholds", "Scale"})
    .Outputs({"Out"})
    .Attrs({"axis: int", "below: bool", "gradient_scale: float"})
    .SetKernelFn(PD_KERNEL(pcq::nearest_level::scaled))
    .SetInferShapeFn(PD_INFER_SHAPE(pcq::shape_of_first<const pcq::Shape&, const pcq::Shape&,
                                                        const pcq::Shape&>))
    .SetInferDtypeFn(PD_INFER_DTYPE(pcq::dtype_of_first<const pcq::DataType&, const pcq::DataType&,
                                                        const pcq::DataType&>));
PD_BUILD_GRAD_OP(pcq_nearest_level_scaled)
    .Inputs({"X", "Levels", "Thresholds", "Scale", paddle::Grad("Out")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Scale")})
    .Attrs({"axis: int", "below: bool", "gradient_scale: float"})
    .SetKernelFn(PD_KERNEL(pcq::nearest_level::scaled_grad));
