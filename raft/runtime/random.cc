#include "raft/runtime/random.h"

#include <bit>

#include <glog/logging.h>
#include <sys/random.h>

namespace millrace {
namespace {

// SplitMix64 (Steele, Lea, Flood, 2014): spreads one word into a state that is never all zero, as
// xoshiro's authors ask.
uint64_t SplitMix(uint64_t& state) {
  state += 0x9E3779B97F4A7C15;
  uint64_t mixed = state;
  mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9;
  mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB;
  return mixed ^ (mixed >> 31);
}

}  // namespace

Random::Random(uint64_t seed) : state_() {
  for (uint64_t& word : state_) word = SplitMix(seed);
}

uint64_t Random::Next() {
  const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const uint64_t shifted = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= shifted;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

uint64_t Random::Below(uint64_t bound) {
  CHECK_GT(bound, 0u);
  // Draws below 2^64 mod bound are thrown away, so that every remainder is equally likely.
  const uint64_t threshold = (0 - bound) % bound;
  uint64_t draw = Next();
  while (draw < threshold) draw = Next();
  return draw % bound;
}

uint64_t Random::Between(uint64_t low, uint64_t high) {
  CHECK_LE(low, high);
  const uint64_t span = high - low + 1;
  return span == 0 ? Next() : low + Below(span);
}

double Random::Fraction() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }

uint64_t EntropySeed() {
  uint64_t seed = 0;
  const ssize_t got = getrandom(&seed, sizeof(seed), 0);
  PCHECK(got == static_cast<ssize_t>(sizeof(seed))) << "the operating system gives no randomness";
  return seed;
}

}  // namespace millrace
