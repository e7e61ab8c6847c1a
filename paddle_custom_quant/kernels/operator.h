// What the operators share at their border with Paddle.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "paddle/phi/api/ext/op_meta_info.h"
#include "paddle/phi/api/ext/tensor_compat.h"

#include "sweep.h"

namespace pcq {

using paddle::DataType;
using paddle::Tensor;
using Shape = std::vector<int64_t>;

// How gradients of parameters are formed; the order of `RULES` in ops.py.
enum Rule { kRange, kClip, kStraightSlope };

inline const float* values_of(const Tensor& tensor) {
  PD_CHECK(tensor.is_cpu() && tensor.dtype() == DataType::FLOAT32,
           "the fused quantizers take float32 tensors on the CPU");
  return tensor.data<float>();
}

// The cut of x for parameters of the shape of `parameter`: one, or one for each channel on `axis`.
inline Tiling tiling_of(const Tensor& x, const Tensor& parameter, int axis) {
  Shape shape = x.shape();
  int64_t count = parameter.numel();
  PD_CHECK(count == 1 || (axis >= 0 && axis < static_cast<int>(shape.size()) &&
                          count == shape[axis]),
           "a parameter has " + std::to_string(count) +
               " values, which is neither one nor one for each channel");
  return Tiling(shape, axis, count);
}

inline std::vector<float> copy_of(const Tensor& tensor) {
  const float* values = values_of(tensor);
  return std::vector<float>(values, values + tensor.numel());
}

inline std::vector<float> inverse_of(std::vector<float> values) {
  for (float& value : values) value = 1.0f / value;
  return values;
}

// A learned step may pass through zero: its size counts, at least 2^-60, in units. NaN stays.
constexpr float kLeastSize = 0x1p-60f;

inline std::vector<float> sizes_of(const Tensor& tensor, float unit = 1) {
  std::vector<float> values = copy_of(tensor);
  for (float& value : values) {
    value = std::fabs(value);
    if (value < kLeastSize) value = kLeastSize;
    value *= unit;
  }
  return values;
}

// The derivative of that.
inline double slope_of_size(float value) {
  return std::fabs(value) < kLeastSize ? 0.0 : std::copysign(1.0, value);
}

// A tensor of the shape of `like` from sums of channels.
inline Tensor gradient(const Tensor& like, const std::vector<double>& sums, double factor) {
  Tensor tensor = paddle::empty_like(like);
  float* to = tensor.data<float>();
  for (size_t i = 0; i < sums.size(); ++i) to[i] = static_cast<float>(sums[i] * factor);
  return tensor;
}

// The shape and dtype of the first input, whatever follows it.
template <class... Others>
std::vector<Shape> shape_of_first(const Shape& first, Others...) {
  return {first};
}

template <class... Others>
std::vector<DataType> dtype_of_first(const DataType& first, Others...) {
  return {first};
}

}  // namespace pcq
