package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/sim/qemu"
)

// keyVariable names the environment variable for the API key.
const keyVariable = "TRUENAS_SIM_API_KEY"

// settings are the flags of the program.
type settings struct {
	nas        sim.Config
	listen     string
	username   string
	key        string
	keyFile    string   // file name; empty: see apiKey
	pools      []string // name=size
	state      string   // file name; empty: the state is not saved
	transcript string   // file name; empty: no transcript
	hypervisor string   // "memory" or "qemu"
	consoles   string   // folder; empty: console output is not saved
	uplinks    []string // interfaces of the NAS that lead to this host
	cert       string   // file name; empty: a new certificate at each start
	encrypted  []string // datasets to create with a passphrase
	pci        []string // address=vendor,product
	usb        []string // name=vendor id:product id,vendor,product
	locked     bool     // unload the keys of those datasets
	control    string   // loopback address of the control API; empty: no API
}

// add defines the flags.
func (s *settings) add(flags *pflag.FlagSet) {
	flags.StringVar(&s.listen, "listen", "127.0.0.1:4443", "address of the API; port 0 takes a free port")
	flags.StringVar(&s.nas.Release, "release", "25.10", "release to simulate: 25.04.2, 25.10, 26 or 27")
	flags.StringVar(&s.username, "username", sim.DefaultUser, "name of the user, who has the role FULL_ADMIN")
	flags.StringVar(&s.key, "api-key", "", "API key of the user, <id>-<secret>; other users of the machine see command lines, so prefer --api-key-file")
	flags.StringVar(&s.keyFile, "api-key-file", "", "file with the API key ["+keyVariable+" contains the key itself]")
	flags.StringArrayVar(&s.pools, "pool", []string{"tank=1TiB"}, "pool and its size, name=size; may be repeated")
	flags.StringArrayVar(&s.encrypted, "encrypted", nil, "dataset to create with a passphrase, pool/name; may be repeated")
	flags.BoolVar(&s.locked, "locked", false, "do not load the keys of the encrypted datasets")
	flags.StringArrayVar(&s.pci, "pci", nil, "graphics card that VMs can get, address=vendor,product; may be repeated")
	flags.StringArrayVar(&s.usb, "usb", nil, "USB device that VMs can get, name=vendor:product,vendor,product with the ids first, such as usb_1_2=10c4:ea60,Silicon Labs,CP210x; may be repeated")
	flags.DurationVar(&s.nas.Latency, "latency", 0, "minimum time of each call")
	flags.StringVar(&s.state, "state", "", "file with the content of the NAS; read at the start, saved at the end and on SIGUSR1")
	flags.StringVar(&s.cert, "certificate", "", "file with the certificate and its key; created when it does not exist")
	flags.StringVar(&s.hypervisor, "hypervisor", "memory", "memory, which only reports VMs as running, or qemu, which boots them")
	flags.StringVar(&s.consoles, "console-dir", "", "folder for the output of the VMs' serial ports, with --hypervisor qemu")
	flags.StringArrayVar(&s.uplinks, "uplink", nil, "network interface of the NAS, such as br0, through which guests reach this host and its network, with --hypervisor qemu; may be repeated")
	flags.StringVar(&s.transcript, "transcript", "", "file that gets a line of JSON for every call")
	flags.StringVar(&s.control, "control", "", "loopback address of an HTTP API that injects faults and lists calls")
}

// complete checks the flags and fills s.nas.
func (s *settings) complete(lookupEnv func(string) (string, bool)) error {
	if s.hypervisor != "memory" && s.hypervisor != "qemu" {
		return program.Usage(fmt.Errorf("--hypervisor %s: want memory or qemu", s.hypervisor))
	}
	if len(s.uplinks) > 0 && s.hypervisor != "qemu" {
		return program.Usage(errors.New("--uplink needs --hypervisor qemu"))
	}
	key, err := apiKey(s.key, s.keyFile, lookupEnv)
	if err != nil {
		return err
	}
	s.nas.Keys = []sim.Key{{Username: s.username, APIKey: key, Roles: []string{"FULL_ADMIN"}}}
	for _, text := range s.pools {
		p, err := parsePool(text)
		if err != nil {
			return program.Usage(fmt.Errorf("--pool %s: %w", text, err))
		}
		s.nas.Pools = append(s.nas.Pools, p)
	}
	return s.addDevices()
}

// machines returns the options of QEMU.
func (s *settings) machines() qemu.Options {
	uplinks := map[string]qemu.Uplink{}
	for _, name := range s.uplinks {
		uplinks[name] = qemu.Uplink{}
	}
	return qemu.Options{Consoles: s.consoles, Uplinks: uplinks}
}

// apiKey returns the key from the flag, the file or the environment, in this order, or else the public default.
func apiKey(flag, file string, lookupEnv func(string) (string, bool)) (string, error) {
	if flag != "" && file != "" {
		return "", program.Usage(errors.New("--api-key and --api-key-file exclude each other"))
	}
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("--api-key-file: %w", err)
		}
		flag = strings.TrimSpace(string(b))
		if flag == "" {
			return "", program.Usage(fmt.Errorf("--api-key-file: %s is empty", file))
		}
	}
	if flag != "" {
		return flag, nil
	}
	if env, ok := lookupEnv(keyVariable); ok && env != "" {
		return env, nil
	}
	return sim.DefaultAPIKey, nil
}

// parsePool parses name=size.
func parsePool(text string) (sim.Pool, error) {
	name, size, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return sim.Pool{}, errors.New("want name=size, such as tank=1TiB")
	}
	n, err := parseSize(size)
	return sim.Pool{Name: name, SizeBytes: n}, err
}

// parseSize parses a number of bytes. K, M, G, T and P are powers of 1024, with or without "iB" or "B".
func parseSize(text string) (int64, error) {
	number := strings.TrimRight(text, "KMGTPiB")
	unit := strings.TrimSuffix(strings.TrimSuffix(text[len(number):], "B"), "i")
	shift := 0
	if unit != "" {
		i := strings.Index("KMGTP", unit)
		if len(unit) != 1 || i < 0 {
			return 0, fmt.Errorf("%q is not a size such as 500GiB", text)
		}
		shift = 10 * (i + 1)
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || n > (1<<62)>>shift {
		return 0, fmt.Errorf("%q is not a size such as 500GiB", text)
	}
	return n << shift, nil
}
