#include "proto/base/checksum.h"

#include <array>

#include <isa-l/crc.h>

namespace millrace {
namespace {

constexpr uint32_t kPolynomial = 0x82F63B78;  // Castagnoli, bit-reversed.
using Matrix = std::array<uint32_t, 32>;      // A linear map over GF(2)^32, a column a bit.

uint32_t Times(const Matrix& matrix, uint32_t vector) {
  uint32_t sum = 0;
  for (size_t bit = 0; vector != 0; ++bit, vector >>= 1) {
    if (vector & 1) sum ^= matrix[bit];
  }
  return sum;
}

Matrix Square(const Matrix& matrix) {
  Matrix square{};
  for (size_t bit = 0; bit < 32; ++bit) square[bit] = Times(matrix, matrix[bit]);
  return square;
}

// powers[k] advances a register over 2^k zero bytes.
std::array<Matrix, 64> MakePowers() {
  Matrix one_bit{};
  one_bit[0] = kPolynomial;
  for (size_t bit = 1; bit < 32; ++bit) one_bit[bit] = uint32_t{1} << (bit - 1);
  std::array<Matrix, 64> powers{};
  powers[0] = Square(Square(Square(one_bit)));
  for (size_t k = 1; k < 64; ++k) powers[k] = Square(powers[k - 1]);
  return powers;
}

}  // namespace

uint32_t Crc32c(std::string_view bytes, uint32_t seed) {
  // isa-l takes and gives the raw register; the standard form inverts it on both sides. Its int
  // length is why long inputs go in pieces.
  constexpr size_t kPiece = size_t{1} << 30;
  uint32_t state = ~seed;
  while (!bytes.empty()) {
    const std::string_view piece = bytes.substr(0, kPiece);
    auto* data = reinterpret_cast<unsigned char*>(const_cast<char*>(piece.data()));
    state = crc32_iscsi(data, static_cast<int>(piece.size()), state);
    bytes.remove_prefix(piece.size());
  }
  return ~state;
}

uint32_t Crc32cCombine(uint32_t crc_a, uint32_t crc_b, uint64_t size_b) {
  static const std::array<Matrix, 64> kPowers = MakePowers();
  for (size_t k = 0; size_b != 0; ++k, size_b >>= 1) {
    if (size_b & 1) crc_a = Times(kPowers[k], crc_a);
  }
  return crc_a ^ crc_b;
}

}  // namespace millrace
