// Package layout contains only tests of rules that the compiler does not check: the allowed imports of each package, the
// package comments, and the dependencies that may be linked into the provider's binary.
package layout
