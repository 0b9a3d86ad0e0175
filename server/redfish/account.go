package redfish

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/bcrypt"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// privilege is a standard privilege that this service requires.
type privilege string

const (
	login               privilege = "Login"
	configureSelf       privilege = "ConfigureSelf"
	configureComponents privilege = "ConfigureComponents"
	configureManager    privilege = "ConfigureManager"
	configureUsers      privilege = "ConfigureUsers"
)

// The roles that the standard defines.
const (
	Administrator = "Administrator" // every operation, including the sessions and accounts of others
	Operator      = "Operator"      // power, boot source and virtual media
	ReadOnly      = "ReadOnly"      // reads only
)

// roles in the order of their list.
var roles = []struct {
	name       string
	privileges []privilege
}{
	{Administrator, []privilege{login, configureManager, configureUsers, configureComponents, configureSelf}},
	{Operator, []privilege{login, configureComponents, configureSelf}},
	{ReadOnly, []privilege{login, configureSelf}},
}

func privilegesOf(role string) []privilege {
	for _, r := range roles {
		if r.name == role {
			return r.privileges
		}
	}
	return nil
}

// Account is a user who may log in.
type Account struct {
	Name         string   `yaml:"name"`
	PasswordHash string   `yaml:"password_hash"` // a bcrypt hash; see [HashPassword]
	Role         string   `yaml:"role"`          // Administrator, Operator (default) or ReadOnly
	Systems      []string `yaml:"systems"`       // names or ids of the VMs that the account sees; empty: all VMs that the provider made
}

func (a Account) may(p privilege) bool { return slices.Contains(privilegesOf(a.Role), p) }

// sees reports whether the account may know of a VM. A VM that the provider did not make is visible only if Systems names it.
func (a Account) sees(vm *providerv1.VMInfo) bool {
	if len(a.Systems) == 0 {
		return vm.GetProviderRaw()["managed"] != "false"
	}
	namespaced := vm.GetProviderRaw()["owner_namespace"] + "/" + vm.GetName()
	return slices.Contains(a.Systems, vm.GetName()) || slices.Contains(a.Systems, vm.GetId()) || slices.Contains(a.Systems, namespaced)
}

// The limits of a file of accounts.
const (
	maxAccounts = 256
	minCost     = 10
	maxCost     = 14 // about a second for each login
)

var validUser = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

// ParseAccounts reads accounts in YAML:
//
//	accounts:
//	- name: omni
//	  password_hash: $2a$12$…
//	  role: Operator
//	  systems: [worker-1]
//
// Its error joins one error for each mistake, and repeats no hash.
func ParseAccounts(text []byte) ([]Account, error) {
	var file struct {
		Accounts []Account `yaml:"accounts"`
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.New("not a list of accounts with name, password_hash, role and systems")
	}
	if len(file.Accounts) == 0 || len(file.Accounts) > maxAccounts {
		return nil, fmt.Errorf("accounts: %d given; 1 to %d are allowed", len(file.Accounts), maxAccounts)
	}
	var mistakes []error
	seen := map[string]bool{}
	for i := range file.Accounts {
		a := &file.Accounts[i]
		if a.Role == "" {
			a.Role = Operator
		}
		if err := a.check(); err != nil {
			mistakes = append(mistakes, fmt.Errorf("accounts[%d]: %w", i, err))
		} else if seen[a.Name] {
			mistakes = append(mistakes, fmt.Errorf("accounts[%d].name: %q is given twice", i, a.Name))
		}
		seen[a.Name] = true
	}
	return file.Accounts, errors.Join(mistakes...)
}

func (a Account) check() error {
	cost, err := bcrypt.Cost([]byte(a.PasswordHash))
	switch {
	case !validUser.MatchString(a.Name):
		return errors.New("name: must be 1 to 64 letters, digits and . _ @ -, and begin with a letter or digit")
	case err != nil:
		return fmt.Errorf("password_hash of %q: not a bcrypt hash; make one with virtrigaud-provider-truenas hash", a.Name)
	case cost < minCost || cost > maxCost:
		return fmt.Errorf("password_hash of %q: has cost %d; allowed are %d to %d", a.Name, cost, minCost, maxCost)
	case privilegesOf(a.Role) == nil:
		return fmt.Errorf("role of %q: %q; allowed are %s, %s and %s", a.Name, a.Role, Administrator, Operator, ReadOnly)
	case slices.ContainsFunc(a.Systems, func(s string) bool { return strings.TrimSpace(s) == "" }):
		return fmt.Errorf("systems of %q: holds an empty name", a.Name)
	}
	return nil
}

// The limits of a password, in bytes. bcrypt ignores bytes beyond the maximum.
const (
	minPassword = 8
	maxPassword = 72
)

// HashPassword makes the hash of a password.
func HashPassword(password string) (string, error) {
	if len(password) < minPassword || len(password) > maxPassword {
		return "", fmt.Errorf("the password has %d bytes; allowed are %d to %d", len(password), minPassword, maxPassword)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), 12)
	return string(hash), err
}
