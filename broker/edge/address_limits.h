// What one address may take of the edge: connections open at once, and new ones a second, of which
// there is a bound for all addresses together, too. Without it one address takes every connection
// that there is, and nobody else is served for as long as it likes.
//
// An IPv6 network of 64 bits counts as one address, for whoever has one of its addresses has all.
//
// Owned by ConnectionAcceptor, on its thread. Knows no socket.
//
//   if (limits.Admit(address, clock.Now()) == AddressLimits::Verdict::kAdmitted) ...
//   limits.Leave(address);
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include <sys/socket.h>

#include "raft/runtime/clock.h"

namespace millrace::broker::edge {

// The network that a connection comes from.
struct ClientAddress {
  std::string network;  // 4 bytes of IPv4, 8 of IPv6
  bool is_loopback = false;

  static ClientAddress Of(const sockaddr_storage& peer);
};

class AddressLimits {
 public:
  struct Options {
    // Connections that one address may have at once.
    uint64_t connections_max = 1'000;
    // Connections taken a second, of all addresses together; one of them may have a quarter.
    uint64_t accepts_per_second_max = 200;
    // May come at once after quiet time; of one address, a quarter.
    uint64_t accepts_at_once_max = 1'000;
    // This machine's own programs are trusted not to crowd each other out; false in tests alone.
    bool is_loopback_exempt = true;
  };
  enum class Verdict { kAdmitted, kTooManyOpen, kTooFast };

  explicit AddressLimits(const Options& options);

  // Counts the connection as open if it is admitted.
  Verdict Admit(const ClientAddress& address, MonotonicTime now);
  // One that was admitted is over.
  void Leave(const ClientAddress& address);

  // Addresses that are remembered, for tests: it must not grow with those that left.
  size_t address_count() const { return counts_.size(); }

 private:
  // What may still come now; refilled as time passes.
  class Allowance {
   public:
    Allowance(uint64_t per_second, uint64_t at_once, MonotonicTime now)
        : per_second_(static_cast<double>(per_second)),
          most_(static_cast<double>(at_once)),
          left_(most_),
          as_of_(now) {}
    void Refill(MonotonicTime now);
    bool has_one() const { return left_ >= 1; }
    bool is_full() const { return left_ >= most_; }
    void TakeOne() { left_ -= 1; }

   private:
    double per_second_;
    double most_;
    double left_;
    MonotonicTime as_of_;
  };
  struct Count {
    uint64_t open = 0;
    Allowance allowance;
  };

  // Forgets addresses without a connection that may send as many as if they had never come.
  void ForgetQuiet(MonotonicTime now);

  const Options options_;
  Allowance all_;
  std::map<std::string, Count> counts_;
  size_t forget_at_ = 1'024;  // addresses; doubled while that many are in use
};

}  // namespace millrace::broker::edge
