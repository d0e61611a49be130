#include "broker/controller/producer_id.h"

#include <algorithm>
#include <array>

#include <glog/logging.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

namespace millrace::broker {
namespace {

// Named in what is authenticated, so that the key may serve other purposes later.
constexpr std::string_view kPurpose = "millrace producer id";

uint64_t MarkOf(std::string_view key, uint64_t number) {
  CHECK_EQ(key.size(), kProducerIdKeyBytes);
  std::array<unsigned char, kPurpose.size() + sizeof(number)> said;
  std::copy(kPurpose.begin(), kPurpose.end(), said.begin());
  for (size_t i = 0; i < sizeof(number); ++i) {
    said[kPurpose.size() + i] = static_cast<unsigned char>(number >> (8 * i));
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int digest_size = 0;
  CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), said.data(), said.size(),
             digest.data(), &digest_size) != nullptr);
  CHECK_EQ(digest_size, 32u);
  const uint64_t start = uint64_t{digest[0]} << 16 | uint64_t{digest[1]} << 8 | digest[2];
  return start % (uint64_t{1} << kProducerMarkBits);
}

}  // namespace

static_assert(kProducerNumberBits + kProducerMarkBits == 63, "an id is a positive int64");

std::string DrawProducerIdKey(const std::function<uint64_t()>& draw) {
  std::string key;
  while (key.size() < kProducerIdKeyBytes) {
    const uint64_t word = draw();
    for (size_t i = 0; i < sizeof(word); ++i) key += static_cast<char>(word >> (8 * i));
  }
  return key;
}

ProducerId MarkProducer(std::string_view key, uint64_t number) {
  CHECK_GE(number, kProducerNumberMin);
  CHECK_LT(number, kProducerNumberEnd);
  return ProducerId(MarkOf(key, number) << kProducerNumberBits | number);
}

bool HasMark(std::string_view key, ProducerId id) {
  const uint64_t number = ProducerNumber(id);
  return number >= kProducerNumberMin && id == MarkProducer(key, number);
}

Status CheckProducerId(std::string_view key, ProducerId id) {
  if (key.empty()) {
    return Unavailable(
               "this broker is starting and does not know yet which producer ids were given")
        .RetryAfterMs(100);
  }
  if (HasMark(key, id)) return {};
  return NotFound("producer_id " + std::to_string(id.value()) +
                      " was never given by this cluster; InitProducer gives one",
                  Reason::kUnknownProducer);
}

}  // namespace millrace::broker
