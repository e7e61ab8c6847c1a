// One pass over tensors, element by element, by all threads.
#pragma once

#include <array>
#include <vector>

#include "tiling.h"

namespace pcq {

// How the sums of a pass are joined, as numbers or as vectors.
struct Add {
  template <class T>
  static T join(T a, T b) {
    return a + b;
  }
};

// The largest in the place of the sum, of what is never negative; NaN is passed over.
struct Larger {
  template <class T>
  static T join(T a, T b) {
    return b > a ? b : a;
  }
};

// Parameters of the lanes of a vector: one number for all, ...
struct InRun {
  int64_t index;
  F read(const float* laid_out) const { return all(laid_out[index]); }
  I indices() const { return I{} + static_cast<int32_t>(index); }
};

// ... or one number each.
struct InColumns {
  int64_t index;
  F read(const float* laid_out) const { return load(laid_out + index); }
  I indices() const {
    I lanes;
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = lane;
    return lanes + static_cast<int32_t>(index);
  }
};

template <size_t kIn, size_t kParameters, int kSums, class Join, class Formula>
class Pass {
 public:
  using In = std::array<const float*, kIn>;
  using Parameters = std::array<const float*, kParameters>;

  Pass(In in, float* out, Parameters parameters, double* sums, int64_t sums_apart,
       const Formula& formula)
      : in_(in), out_(out), parameters_(parameters), sums_(sums), sums_apart_(sums_apart),
        formula_(formula) {}

  // A tile with one parameter of each kind.
  template <bool kStream>
  void run(const Tile& tile) const {
    const InRun where{tile.parameter};
    const std::array<F, kParameters> p = read(where);
    // Copies, which the compiler can keep in registers: stores might alias the originals.
    const In in = in_;
    float* const out = out_;
    const Formula formula = formula_;
    std::array<D, kSums> totals{};
    int64_t i = tile.begin, end = tile.begin + tile.length;
    while (i + kLanes <= end) {
      std::array<F, kSums> group{}, terms;
      int64_t stop = std::min(i + kGroup * kLanes, end - kLanes + 1);
      for (; i < stop; i += kLanes) {
        std::array<F, kIn> x;
        for (size_t k = 0; k < kIn; ++k) x[k] = load(in[k] + i);
        const F y = formula(x, p, terms, where);
        for (int k = 0; k < kSums; ++k) group[k] = Join::join(group[k], terms[k]);
        if constexpr (kStream) {
          stream(out + i, y);
        } else if (out) {
          store(out + i, y);
        }
      }
      for (int k = 0; k < kSums; ++k) totals[k] = Join::join(totals[k], widen(group[k]));
    }
    if (i < end) {
      std::array<F, kSums> terms;
      last(i, end - i, p, terms, where);
      for (int k = 0; k < kSums; ++k) totals[k] = Join::join(totals[k], widen(terms[k]));
    }
    if constexpr (kStream) stream_end();
    for (int k = 0; k < kSums; ++k) {
      double total = 0;
      for (int lane = 0; lane < kLanes; ++lane) total = Join::join(total, totals[k][lane]);
      sums_[k * sums_apart_ + tile.sums] = total;
    }
  }

  // A tile with parameters along its rows.
  void columns(const Tile& tile) const {
    std::array<F, kSums> terms;
    for (int64_t row = 0; row < tile.rows; ++row) {
      int64_t start = tile.begin + row * tile.stride, j = 0;
      for (; j + kLanes <= tile.length; j += kLanes) {
        const InColumns where{tile.parameter + j};
        std::array<F, kIn> x;
        for (size_t k = 0; k < kIn; ++k) x[k] = load(in_[k] + start + j);
        F y = formula_(x, read(where), terms, where);
        if (out_) store(out_ + start + j, y);
        join_columns(tile.sums + j, terms);
      }
      if (j < tile.length) {
        const InColumns where{tile.parameter + j};
        last(start + j, tile.length - j, read(where), terms, where);
        join_columns(tile.sums + j, terms);
      }
    }
  }

 private:
  // Vectors whose terms are joined in single precision before they are joined in double.
  static constexpr int kGroup = 16;

  template <class Where>
  std::array<F, kParameters> read(const Where& where) const {
    std::array<F, kParameters> p;
    for (size_t k = 0; k < kParameters; ++k) p[k] = where.read(parameters_[k]);
    return p;
  }

  // Fewer elements than a vector has lanes; the other lanes hold zeros.
  template <class Where>
  void last(int64_t i, int64_t count, const std::array<F, kParameters>& p,
            std::array<F, kSums>& terms, const Where& where) const {
    std::array<F, kIn> x;
    for (size_t k = 0; k < kIn; ++k) x[k] = load(in_[k] + i, count);
    F y = formula_(x, p, terms, where);
    if (out_) store(out_ + i, y, count);
  }

  void join_columns(int64_t at, const std::array<F, kSums>& terms) const {
    for (int k = 0; k < kSums; ++k) {
      D sum;
      double* place = sums_ + k * sums_apart_ + at;
      std::memcpy(&sum, place, sizeof(D));
      sum = Join::join(sum, widen(terms[k]));
      std::memcpy(place, &sum, sizeof(D));
    }
  }

  const In in_;
  float* const out_;
  const Parameters parameters_;
  double* const sums_;
  const int64_t sums_apart_;
  const Formula& formula_;
};

// A tensor larger than this has left the caches before it is read again: writing past them saves
// fetching the memory that is overwritten.
constexpr int64_t kStreamedBytes = 1 << 24;

// Call `formula` for every vector of elements.
//
// formula(x, p, terms, where): x are the elements of the tensors `in`, p the parameters of their
// channels, terms what it adds to each sum; it returns the elements of `out`. `out` may be null.
// Returns kSums arrays one after another, each with the sums of every tile.
template <int kSums, class Join = Add, size_t kIn, size_t kParameters, class Formula>
std::vector<double> sweep(const Tiling& tiling, const std::array<const float*, kIn>& in, float* out,
                          const std::array<const float*, kParameters>& parameters,
                          const Formula& formula) {
  std::vector<double> sums(kSums * tiling.sums());
  const Pass<kIn, kParameters, kSums, Join, Formula> pass(in, out, parameters, sums.data(),
                                                          tiling.sums(), formula);
  const bool large = out && tiling.elements() * int64_t{sizeof(float)} >= kStreamedBytes;
  const int64_t tiles = tiling.tiles();
#pragma omp parallel for schedule(static) if (tiles > 1)
  for (int64_t i = 0; i < tiles; ++i) {
    const Tile tile = tiling.tile(i);
    if (tiling.by_columns()) {
      pass.columns(tile);
    } else if (large && reinterpret_cast<uintptr_t>(out + tile.begin) % sizeof(F) == 0) {
      pass.template run<true>(tile);
    } else {
      pass.template run<false>(tile);
    }
  }
  return sums;
}

}  // namespace pcq
