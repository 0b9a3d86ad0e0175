package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/truenas/sim"
)

// keyVariable names the environment variable that may hold the API key.
const keyVariable = "TRUENAS_SIM_API_KEY"

// settings are what the arguments say.
type settings struct {
	nas        sim.Config
	listen     string
	state      string   // file name; empty: nothing is kept
	transcript string   // file name; empty: none is written
	hypervisor string   // "memory" or "qemu"
	consoles   string   // folder; empty: what VMs say is not kept
	cert       string   // file name; empty: a new certificate each time
	encrypted  []string // datasets to be made and encrypted
	locked     bool     // the keys of those are not loaded
	control    string   // loopback address of the control API; empty: not served
}

// parse reads the arguments. It gives nil when they ask for help or for the version, which it prints.
func parse(args []string, lookupEnv func(string) (string, bool), out, help io.Writer) (*settings, error) {
	s := &settings{}
	var key, keyFile, username string
	var pools []string
	flags := pflag.NewFlagSet("truenas-sim", pflag.ContinueOnError)
	flags.SortFlags = false
	flags.SetOutput(help)
	flags.StringVar(&s.listen, "listen", "127.0.0.1:4443", "address to serve at; port 0 is any that is free")
	flags.StringVar(&s.nas.Release, "release", "25.10", "release to play: 25.04.2, 25.10, 26 or 27")
	flags.StringVar(&username, "username", sim.DefaultUser, "name of the user, who may do everything")
	flags.StringVar(&key, "api-key", "", "the user's API key, <id>-<secret>; better kept off the command line")
	flags.StringVar(&keyFile, "api-key-file", "", "file that holds the API key; "+keyVariable+" holds it, too")
	flags.StringArrayVar(&pools, "pool", []string{"tank=1TiB"}, "a pool and its size, name=size; may be given several times")
	flags.StringArrayVar(&s.encrypted, "encrypted", nil, "a dataset to be made with a passphrase, pool/name; may be given several times")
	flags.BoolVar(&s.locked, "locked", false, "do not load the keys of the encrypted datasets")
	flags.DurationVar(&s.nas.Latency, "latency", 0, "how long each call takes at least")
	flags.StringVar(&s.state, "state", "", "file that keeps what the NAS holds; saved at the end and on SIGUSR1")
	flags.StringVar(&s.cert, "certificate", "", "file that keeps the certificate and its key; made when it is not there")
	flags.StringVar(&s.hypervisor, "hypervisor", "memory", "what VMs run on: memory, which only says so, or qemu, which boots them")
	flags.StringVar(&s.consoles, "console-dir", "", "folder for what each VM says on its serial port, with --hypervisor qemu")
	flags.StringVar(&s.transcript, "transcript", "", "file to which a line of JSON is added for every call")
	flags.StringVar(&s.control, "control", "", "loopback address of an HTTP API that injects faults and lists calls")
	askedVersion := flags.Bool("version", false, "print the version and end")
	switch err := flags.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		return nil, nil
	case err != nil:
		return nil, program.Usage(err)
	case flags.NArg() > 0:
		return nil, program.Usage(fmt.Errorf("%q is not understood; try --help", flags.Arg(0)))
	case *askedVersion:
		_, err := fmt.Fprintln(out, program.BuildOf("truenas-sim", version, commit))
		return nil, err
	}
	if s.hypervisor != "memory" && s.hypervisor != "qemu" {
		return nil, program.Usage(fmt.Errorf("--hypervisor %s: want memory or qemu", s.hypervisor))
	}
	key, err := apiKey(key, keyFile, lookupEnv)
	if err != nil {
		return nil, err
	}
	s.nas.Keys = []sim.Key{{Username: username, APIKey: key, Roles: []string{"FULL_ADMIN"}}}
	for _, text := range pools {
		p, err := parsePool(text)
		if err != nil {
			return nil, program.Usage(fmt.Errorf("--pool %s: %w", text, err))
		}
		s.nas.Pools = append(s.nas.Pools, p)
	}
	return s, nil
}

// apiKey takes the key from the flag, the file or the environment, in this order, or else the one that everybody knows.
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

// parsePool reads name=size.
func parsePool(text string) (sim.Pool, error) {
	name, size, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return sim.Pool{}, errors.New("want name=size, such as tank=1TiB")
	}
	n, err := parseSize(size)
	return sim.Pool{Name: name, SizeBytes: n}, err
}

// parseSize reads a number of bytes; K, M, G, T and P are powers of 1024, with or without "iB" or "B".
func parseSize(text string) (int64, error) {
	number := strings.TrimRight(text, "KMGTPiB")
	unit := strings.TrimSuffix(strings.TrimSuffix(text[len(number):], "B"), "i")
	shift := 0
	if unit != "" {
		i := strings.Index("KMGTP", unit)
		if len(unit) != 1 || i < 0 {
			return 0, fmt.Errorf("%q is no size", text)
		}
		shift = 10 * (i + 1)
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || n > (1<<62)>>shift {
		return 0, fmt.Errorf("%q is no size", text)
	}
	return n << shift, nil
}
