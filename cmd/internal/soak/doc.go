// Package soak contains only a test: a seeded random workload from both control planes on one simulated NAS, with random
// faults. The seed alone determines the operations and their order; concurrency determines their timing.
//
//	go test ./cmd/internal/soak -v -seed 7 -duration 10m
package soak
