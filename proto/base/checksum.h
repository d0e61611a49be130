// CRC32C (Castagnoli, RFC 3720 appendix B.4), the one checksum of Millrace, computed by isa-l.
//
// Pure; any thread.
//
//   uint32_t crc = Crc32c(header);
//   crc = Crc32c(payload, crc);   // of both, one after the other
#pragma once

#include <cstdint>
#include <string_view>

namespace millrace {

// CRC32C of `bytes`, continued from `seed`, the checksum of the bytes before them (0 at the start).
uint32_t Crc32c(std::string_view bytes, uint32_t seed = 0);

// CRC32C of a then b, from Crc32c(a), Crc32c(b) and b's size, without reading either again.
uint32_t Crc32cCombine(uint32_t crc_a, uint32_t crc_b, uint64_t size_b);

}  // namespace millrace
