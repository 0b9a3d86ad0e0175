package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"go.yaml.in/yaml/v3"

	"virtrigaud-provider-truenas/omni"
)

// readLogins reads the file of --image-factory-logins: YAML that maps the address of an image factory to a user name and a
// password.
//
//	https://factory.example: {username: homelab, password: ...}
//
// Its errors contain no password.
func readLogins(file string) (map[string]omni.Login, error) {
	if file == "" {
		return nil, nil
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var entries map[string]struct {
		Username string `yaml:"username"`
		Password string `yaml:"password"`
	}
	if err := yaml.Unmarshal(content, &entries); err != nil {
		return nil, errors.New("not YAML of the form \"https://factory.example: {username: ..., password: ...}\"")
	}
	logins := map[string]omni.Login{}
	var wrong []error
	for address, e := range entries {
		switch {
		case !isAddress(address, "https", "http"):
			wrong = append(wrong, fmt.Errorf("%q: want https://host of an image factory", address))
		case e.Username == "" || e.Password == "":
			wrong = append(wrong, fmt.Errorf("%s: username and password are needed", address))
		}
		logins[address] = omni.Login{Username: e.Username, Password: e.Password}
	}
	slices.SortFunc(wrong, func(a, b error) int { return slices.Compare([]byte(a.Error()), []byte(b.Error())) })
	return logins, errors.Join(wrong...)
}
