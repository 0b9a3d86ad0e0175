// Package layout holds nothing but tests, of what the compiler does not check: which package may import which, that every
// package says what it is, and what may be linked into the provider's binary.
package layout
