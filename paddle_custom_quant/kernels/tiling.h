// How a tensor is cut into tiles that threads work on, and how channels map to them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "simd.h"

namespace pcq {

// `length` consecutive elements in each of `rows` rows, `stride` apart.
struct Tile {
  int64_t begin, length, rows, stride;
  // Where the tile's parameters start in the expanded arrays, and where its sums go.
  int64_t parameter, sums;
};

// The cut of a tensor [outer, channels, inner] with parameters for each channel.
//
// Where the elements of a channel lie together in long runs, tiles are pieces of runs and have one
// parameter each. Where runs are short, tiles are blocks of a matrix whose rows are one or more
// whole periods of the channels, and parameters are read along with the elements.
//
// The cut depends on the shape alone: sums come out the same with any number of threads.
class Tiling {
 public:
  Tiling(const std::vector<int64_t>& shape, int axis, int64_t channels) : channels_(channels) {
    for (int64_t size : shape) elements_ *= size;
    if (elements_ == 0) return;
    inner_ = elements_;
    if (channels > 1) {
      inner_ = 1;
      for (size_t i = axis + 1; i < shape.size(); ++i) inner_ *= shape[i];
    }
    by_columns_ = channels > 1 && inner_ < kShortRun;
    if (by_columns_) {
      cut_into_columns();
    } else {
      tiles_across_ = (inner_ + kPiece - 1) / kPiece;
      tiles_ = elements_ / inner_ * tiles_across_;
    }
  }

  int64_t channels() const { return channels_; }
  int64_t elements() const { return elements_; }
  int64_t tiles() const { return tiles_; }
  bool by_columns() const { return by_columns_; }

  Tile tile(int64_t i) const {
    int64_t across = i % tiles_across_, down = i / tiles_across_;
    if (by_columns_) {
      int64_t column = across * kColumns, row = down * rows_a_tile_;
      return {row * period_ + column, std::min(kColumns, period_ - column),
              std::min(rows_a_tile_, rows_ - row), period_, column, i * kColumns};
    }
    int64_t begin = across * kPiece;
    return {down * inner_ + begin, std::min(kPiece, inner_ - begin), 1, 0, down % channels_, i};
  }

  // The parameter of each channel, laid out as tiles read it.
  std::vector<float> expand(const float* values) const {
    if (!by_columns_) return std::vector<float>(values, values + channels_);
    std::vector<float> laid_out(period_ + kLanes);
    for (size_t i = 0; i < laid_out.size(); ++i) laid_out[i] = values[channel_of(i)];
    return laid_out;
  }

  // Length of an array that holds one kind of sum for every tile.
  int64_t sums() const { return by_columns_ ? tiles_ * kColumns : tiles_; }

  // Join the sums of kind `kind` to one for each channel, in a fixed order.
  template <class Join>
  std::vector<double> by_channel(const std::vector<double>& sums, int kind) const {
    std::vector<double> joined(channels_);
    for_each_sum([&](const Tile& tile, int64_t column) {
      double& total = joined[channel_of(tile, column)];
      total = Join::join(total, sums[kind * this->sums() + tile.sums + column]);
    });
    return joined;
  }

  // Call visit(tile, column) for each sum of one kind; column is zero in a run.
  template <class Visit>
  void for_each_sum(const Visit& visit) const {
    for (int64_t i = 0; i < tiles_; ++i) {
      const Tile t = tile(i);
      for (int64_t column = 0; column < (by_columns_ ? t.length : 1); ++column) visit(t, column);
    }
  }

  // Call visit(index) for each element that a sum is made of.
  template <class Visit>
  void for_each_element(const Tile& tile, int64_t column, const Visit& visit) const {
    const int64_t step = by_columns_ ? tile.stride : 1;
    const int64_t count = by_columns_ ? tile.rows : tile.length;
    for (int64_t i = 0; i < count; ++i) visit(tile.begin + column + i * step);
  }

  int64_t channel_of(const Tile& tile, int64_t column) const {
    return by_columns_ ? channel_of(tile.parameter + column) : tile.parameter;
  }

 private:
  static constexpr int64_t kShortRun = 64, kPiece = 1 << 14, kColumns = 512, kTiles = 64;

  void cut_into_columns() {
    int64_t whole = channels_ * inner_, outer = elements_ / whole;
    int64_t repeats = std::max<int64_t>(1, kColumns / whole);
    while (outer % repeats) --repeats;
    period_ = whole * repeats;
    rows_ = outer / repeats;
    tiles_across_ = (period_ + kColumns - 1) / kColumns;
    int64_t down = std::min(rows_, std::max<int64_t>(1, kTiles / tiles_across_));
    rows_a_tile_ = (rows_ + down - 1) / down;
    tiles_ = (rows_ + rows_a_tile_ - 1) / rows_a_tile_ * tiles_across_;
  }

  int64_t channel_of(int64_t column) const { return column / inner_ % channels_; }

  int64_t channels_, elements_ = 1, inner_ = 1, tiles_ = 0, tiles_across_ = 1;
  int64_t period_ = 0, rows_ = 0, rows_a_tile_ = 1;
  bool by_columns_ = false;
};

}  // namespace pcq
