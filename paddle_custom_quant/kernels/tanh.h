// The hyperbolic tangent, for arguments of any size and, faster, on a range known beforehand.
#pragma once

#include <cmath>

#include "simd.h"

namespace pcq {

// To 3e-7 relative: expm1(2|x|) / (expm1(2|x|) + 2), which loses nothing at small x.
inline F tanh(F x) {
  F a = minimum(absolute(x), all(9.1f));  // rounds to 1 from here
  // exp(2a) = 2^n exp(r), |r| <= ln(2) / 2. n ln(2) may be off by 2^-25 n: where n is large, tanh
  // is flat.
  F shifted = fma(a, all(2.88539008f), all(kRounding));
  F r = fma(shifted - kRounding, all(-0.693147181f), a + a);
  F power = real((bits(shifted) << 23) + 0x3f800000);
  // (expm1(r) - r) / r^2, minimax in the relative error of expm1.
  F p = fma(all(1.38823991e-3f), r, all(8.36718082e-3f));
  p = fma(p, r, all(4.16672230e-2f));
  p = fma(p, r, all(1.66665390e-1f));
  p = fma(p, r, all(4.99999970e-1f));
  p = fma(p, r * r, r);
  F e = fma(power, p, power - 1.0f);
  return with_sign_of(e * reciprocal(e + 2.0f), x);
}

// tanh(x) for |x| <= bound, to 2e-7 of tanh(bound): the smaller the bound, the faster.
class BoundedTanh {
 public:
  explicit BoundedTanh(float bound) {
    if (bound <= kSeries) {
      form_ = Form::kSeries;
#if defined(__AVX512F__)
    } else if (bound <= kWidest) {
      form_ = Form::kTable;
      tabulate(bound);
#endif
    }
  }

  F operator()(F x) const {
    if (form_ == Form::kSeries) return series(x);
#if defined(__AVX512F__)
    if (form_ == Form::kTable) return look_up(x);
#endif
    return tanh(x);
  }

 private:
  enum class Form { kSeries, kTable, kAny };
  static constexpr float kSeries = 1.2f, kWidest = 6.0f;

  // Minimax in the relative error on [0, 1.2].
  static F series(F x) {
    const F z = x * x;
    F p = fma(all(-2.09462130e-4f), z, all(1.71973300e-3f));
    p = fma(p, z, all(-7.04837823e-3f));
    p = fma(p, z, all(2.07956154e-2f));
    p = fma(p, z, all(-5.36053553e-2f));
    p = fma(p, z, all(1.33271292e-1f));
    p = fma(p, z, all(-3.33329201e-1f));
    return fma(p, z, all(9.99999940e-1f)) * x;
  }

#if defined(__AVX512F__)
  // 32 polynomials of degree 4 in the distance to the centres 0, h, 2h, ...; two registers hold
  // one coefficient of all of them.
  static constexpr int kPieces = 32, kDegree = 4;

  void tabulate(float bound) {
    const double spacing = bound * 1.0000005 / (kPieces - 1), half = spacing / 2;
    spacing_ = static_cast<float>(spacing);
    density_ = static_cast<float>(1 / spacing);
    for (int piece = 0; piece < kPieces; ++piece) {
      // Taylor coefficients from tanh' = 1 - tanh^2; the fifth is spread over the lower ones.
      double c[kDegree + 2] = {std::tanh(static_cast<double>(spacing_) * piece)};
      for (int n = 0; n <= kDegree; ++n) {
        double square = 0;
        for (int i = 0; i <= n; ++i) square += c[i] * c[n - i];
        c[n + 1] = ((n == 0) - square) / (n + 1);
      }
      c[3] += c[5] * 1.25 * half * half;
      c[1] -= c[5] * 0.3125 * half * half * half * half;
      for (int n = 0; n <= kDegree; ++n) table_[n][piece / kLanes][piece % kLanes] = c[n];
    }
  }

  F look_up(F x) const {
    const F a = absolute(x);
    const F shifted = fma(a, all(density_), all(kRounding));
    const F distance = fma(shifted - kRounding, all(-spacing_), a);
    F t = coefficient(kDegree, shifted);
    for (int n = kDegree - 1; n >= 0; --n) t = fma(t, distance, coefficient(n, shifted));
    return with_sign_of(t, x);
  }

  // The permutation reads the low five bits, where the rounding has left the number of the piece.
  F coefficient(int n, F shifted) const {
    return (F)_mm512_permutex2var_ps((__m512)table_[n][0], (__m512i)bits(shifted),
                                     (__m512)table_[n][1]);
  }

  float spacing_ = 0, density_ = 0;
  F table_[kDegree + 1][2] = {};
#endif

  Form form_ = Form::kAny;
};

}  // namespace pcq
