// Vectors of the machine's width, and the few functions on them that the formulas need.
//
// Written with the compiler's vector extensions, so that a formula reads as on scalars. Products
// and sums are never contracted (-ffp-contract=off): a result must equal the composed operators'.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pcq {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float F __attribute__((vector_size(4 * kLanes)));
typedef int32_t I __attribute__((vector_size(4 * kLanes)));
typedef double D __attribute__((vector_size(8 * kLanes)));

inline F all(float value) { return F{} + value; }

inline F load(const float* from) {
  F value;
  std::memcpy(&value, from, sizeof(F));
  return value;
}

// The first `count` lanes from memory, zero in the others.
inline F load(const float* from, int64_t count) {
  F value{};
  std::memcpy(&value, from, count * sizeof(float));
  return value;
}

inline void store(float* to, F value) { std::memcpy(to, &value, sizeof(F)); }

inline void store(float* to, F value, int64_t count) {
  std::memcpy(to, &value, count * sizeof(float));
}

// Write past the caches; `to` is aligned to a vector.
inline void stream(float* to, F value) {
#if defined(__AVX512F__)
  _mm512_stream_ps(to, (__m512)value);
#elif defined(__AVX__)
  _mm256_stream_ps(to, (__m256)value);
#elif defined(__x86_64__)
  _mm_stream_ps(to, (__m128)value);
#else
  store(to, value);
#endif
}

inline void stream_end() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

// a * b + c, rounded once where the machine can.
inline F fma(F a, F b, F c) {
#if defined(__AVX512F__)
  return (F)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX__) && defined(__FMA__)
  return (F)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  return a * b + c;
#endif
}

inline I bits(F x) { return (I)x; }
inline F real(I x) { return (F)x; }
inline F absolute(F x) { return real(bits(x) & 0x7fffffff); }
inline F with_sign_of(F size, F sign) { return real(bits(size) | (bits(sign) & INT32_MIN)); }

// NaN in x stays NaN (the machine's instructions return their second operand).
inline F minimum(F x, F limit) { return limit < x ? limit : x; }
inline F maximum(F x, F limit) { return limit > x ? limit : x; }
inline F clamp(F x, F low, F high) { return minimum(maximum(x, low), high); }

// x where the mask is set, else zero.
inline F only(I mask, F x) { return real(mask & bits(x)); }

// Nearest integer, ties to even, for |x| < 2^22.
constexpr float kRounding = 12582912.0f;
inline F nearest(F x) { return (x + kRounding) - kRounding; }

// x / d, correctly rounded, given inverse = 1 / d correctly rounded; |x| / d must be finite.
inline F divide(F x, F d, F inverse) {
#if defined(__AVX512F__) || (defined(__AVX__) && defined(__FMA__))
  // Markstein: one correction by the exact remainder; a third of a division's time.
  F quotient = x * inverse;
  return fma(fma(-quotient, d, x), inverse, quotient);
#else
  return x / d;
#endif
}

// 1 / x for normal x, to about one unit in the last place.
inline F reciprocal(F x) {
#if defined(__AVX512F__)
  F r = (F)_mm512_rcp14_ps((__m512)x);
  return fma(fma(-x, r, all(1.0f)), r, r);
#else
  return 1.0f / x;
#endif
}

inline F gather(const float* from, I index) {
#if defined(__AVX512F__)
  return (F)_mm512_i32gather_ps((__m512i)index, from, 4);
#elif defined(__AVX2__)
  return (F)_mm256_i32gather_ps(from, (__m256i)index, 4);
#else
  F values;
  for (int lane = 0; lane < kLanes; ++lane) values[lane] = from[index[lane]];
  return values;
#endif
}

inline D widen(F x) { return __builtin_convertvector(x, D); }

}  // namespace pcq
