// Randomness, injected: xoshiro256** (Blackman and Vigna, 2018) from a seed, so that the same seed
// gives the same run. The real one is seeded once from the operating system.
//
// One owner; not for several threads at once, and not for secrets.
//
//   Random random(seed);
//   if (random.OneIn(20)) Crash();
#pragma once

#include <array>
#include <cstdint>

namespace millrace {

class Random {
 public:
  explicit Random(uint64_t seed);

  uint64_t Next();
  // Uniform in [0, bound). Pre: bound > 0.
  uint64_t Below(uint64_t bound);
  // Uniform in [low, high], both included. Pre: low <= high.
  uint64_t Between(uint64_t low, uint64_t high);
  // True with probability 1/n. Pre: n > 0.
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  // Uniform in [0, 1).
  double Fraction();
  // An independent generator, so that one concern's draws do not disturb another's.
  Random Fork() { return Random(Next()); }

 private:
  std::array<uint64_t, 4> state_;
};

// A seed from the operating system; the real world's only source of chance.
uint64_t EntropySeed();

}  // namespace millrace
