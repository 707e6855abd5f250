/* The version; CMake reads it from here. */
#define TN_VERSION "0.1.0"
