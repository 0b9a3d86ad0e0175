package main

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/truenas/sim"
)

// goldenImage is a snapshot of a volume that users can clone into VMs.
const (
	goldenDataset = "tank/golden"
	goldenVolume  = goldenDataset + "/debian12"
	goldenImage   = goldenVolume + "@v1"
)

// simulatorFlags configure the simulated NAS.
type simulatorFlags struct {
	wanted  bool
	release string
	latency time.Duration
}

// add defines the flags of a program that can serve a simulated NAS.
func (f *simulatorFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.wanted, "simulator", false, "serve a simulated NAS inside the program; no other setting is needed")
	f.addNAS(flags, 0)
}

// addNAS defines the flags that describe the simulated NAS.
func (f *simulatorFlags) addNAS(flags *pflag.FlagSet, latency time.Duration) {
	flags.StringVar(&f.release, "simulator-release", "25.10", "release of the simulated NAS: 25.04.2, 25.10, 26 or 27")
	flags.DurationVar(&f.latency, "simulator-latency", latency, "minimum time of each call to the simulated NAS")
}

// simulator is a simulated NAS with TLS on loopback.
type simulator struct {
	*sim.Sim
	server *sim.Server
}

// startSimulator makes a NAS with the pool "tank", the bridge "br0", and an image to make VMs from.
func startSimulator(f simulatorFlags) (*simulator, error) {
	nas, err := sim.New(sim.Config{Release: f.release, Latency: f.latency})
	if err != nil {
		return nil, program.Usage(fmt.Errorf("--simulator-release: %w", err))
	}
	s := &simulator{Sim: nas}
	if s.server, err = sim.Serve(nas, "127.0.0.1:0"); err != nil {
		nas.Close()
		return nil, err
	}
	if err := s.addImage(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *simulator) addImage() error {
	if err := s.AddDataset(goldenDataset, nil); err != nil {
		return err
	}
	if err := s.AddVolume(goldenVolume, 2<<30, nil); err != nil {
		return err
	}
	return s.AddSnapshot(goldenImage)
}

func (s *simulator) close() {
	s.server.Close()
	s.Close()
}

// environment overrides the NAS settings with those of the simulator. It hides all other variables of the NAS, because they apply
// to another one.
func (s *simulator) environment(lookupEnv func(string) (string, bool)) func(string) (string, bool) {
	overlay := map[string]string{
		"TRUENAS_URL": s.server.URL, "TRUENAS_FINGERPRINT": s.server.Fingerprint, "TRUENAS_USERNAME": sim.DefaultUser, "TRUENAS_API_KEY": sim.DefaultAPIKey,
		"PROVIDER_DATASET": "tank/virtrigaud", "PROVIDER_DEFAULT_NIC": "br0", "PROVIDER_IMAGES_ALLOW_ADDRESSES": "127.0.0.0/8",
		"PROVIDER_IMAGES_NAS_PATHS": goldenDataset,
	}
	hidden := map[string]bool{"PROVIDER_ENDPOINT": true, "TRUENAS_API_KEY_FILE": true, "TRUENAS_CA_FILE": true, "PROVIDER_DEFAULT_DATASTORE": true}
	return func(name string) (string, bool) {
		if value, ok := overlay[name]; ok {
			return value, true
		}
		if hidden[name] {
			return "", false
		}
		return lookupEnv(name)
	}
}
