// What a producer id is made of, so that whoever gets one back can tell whether this cluster gave
// it (docs/adr/0004-producer-ids-carry-a-mark.md):
//
//   bit 63: 0 | bits 62..40: mark | bits 39..0: number
//
// Numbers are allocated by the controller in blocks and given away by the brokers that asked. The
// mark is the start of an HMAC-SHA256 over the number, under a key that only the cluster's brokers
// know: it is computed when the id is given away, so that an id out of a block that is not given
// yet has none.
//
// Pure; any thread.
//
//   const ProducerId id = MarkProducer(image.producer_id_key(), number);
//   RETURN_IF_ERROR(CheckProducerId(image.producer_id_key(), id));
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "proto/base/ids.h"
#include "proto/base/status.h"

namespace millrace::broker {

inline constexpr unsigned kProducerNumberBits = 40;
inline constexpr unsigned kProducerMarkBits = 23;
inline constexpr uint64_t kProducerNumberEnd = uint64_t{1} << kProducerNumberBits;
// Numbers come in blocks of this size, so that the low ten bits can say which of 1,024 coordinators
// an id belongs to. The first block is never given: nobody comes upon an id by writing 7.
inline constexpr uint64_t kProducerIdBlock = 1024;
inline constexpr uint64_t kProducerNumberMin = kProducerIdBlock;
inline constexpr size_t kProducerIdKeyBytes = 32;
// The last epoch that is given out: Kafka's clients know 16 bits, with a sign.
inline constexpr uint32_t kProducerEpochMax = 32'766;

constexpr uint64_t ProducerNumber(ProducerId id) { return id.value() % kProducerNumberEnd; }

// A new key, of words that nobody can guess.
std::string DrawProducerIdKey(const std::function<uint64_t()>& draw);
// The id with this number. Pre: kProducerNumberMin <= number < kProducerNumberEnd.
ProducerId MarkProducer(std::string_view key, uint64_t number);
// Whether some broker of this cluster made the id.
bool HasMark(std::string_view key, ProducerId id);
// Ok if so. NOT_FOUND (UNKNOWN_PRODUCER), naming it; UNAVAILABLE with an empty key, before this
// broker has learnt it from the controller.
Status CheckProducerId(std::string_view key, ProducerId id);

}  // namespace millrace::broker
