// Package e2e contains the end-to-end test from the URL of an image to a running guest: the RPCs and the Omni adapter on
// simulated NASes whose VMs are QEMU processes.
//
//	make e2e             # all tests
//	make e2e E2E=short   # a tour of two guests, hardware settings, and a boot from the network, for CI
//
// It runs only with the build tag e2e, since it needs QEMU and the test guest, which make installs and builds. It prints its
// steps with their times, and at the end the time of each guest from the request to its first output.
package e2e
