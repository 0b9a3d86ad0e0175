package main

import (
	"testing"

	"virtrigaud-provider-truenas/truenas/sim"
)

// A locked dataset of the flags has no files.
func TestEncryptedAndLocked(t *testing.T) {
	for _, locked := range []bool{false, true} {
		nas, err := sim.New(sim.Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nas.Close)
		if err := encrypt(nas, []string{"tank/secret"}, locked); err != nil {
			t.Fatal(err)
		}
		if err := nas.WriteFile("/mnt/tank/secret/x", []byte("x")); (err != nil) != locked {
			t.Errorf("locked %t: write of a file: %v", locked, err)
		}
		if err := encrypt(nas, []string{"nowhere/secret"}, locked); err == nil {
			t.Error("a dataset in a missing pool was encrypted")
		}
	}
}
