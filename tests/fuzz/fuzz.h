// What every fuzz target shares: libFuzzer's entry point and the provider that cuts its input into
// values. A target's function returns; whatever it finds wrong, it CHECKs.
//
//   FUZZ_TARGET(FuzzedDataProvider& input) { CHECK(Holds(input.ConsumeRemainingBytesAsString())); }
#pragma once

#include <cstddef>
#include <cstdint>

#include <fuzzer/FuzzedDataProvider.h>
#include <glog/logging.h>

// What the code under test logs of each input would be most of the work.
extern "C" __attribute__((used)) inline int LLVMFuzzerInitialize(int*, char***) {
  FLAGS_minloglevel = google::GLOG_ERROR;
  return 0;
}

#define FUZZ_TARGET(parameter)                                              \
  static void FuzzOne(parameter);                                           \
  extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) { \
    FuzzedDataProvider provider(data, size);                                \
    FuzzOne(provider);                                                      \
    return 0;                                                               \
  }                                                                         \
  static void FuzzOne(parameter)
