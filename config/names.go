package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// byKey returns the setting with a name, or the zero setting.
func byKey(key string) setting {
	i := slices.IndexFunc(settings, func(s setting) bool { return s.key == key })
	if i < 0 {
		return setting{}
	}
	return settings[i]
}

// isKey reports whether the file may contain a setting with a name.
func isKey(key string) bool { return byKey(key).key != "" && !strings.HasPrefix(key, "--") }

// isSection reports whether the file has settings below a name.
func isSection(key string) bool {
	return slices.ContainsFunc(settings, func(s setting) bool { return strings.HasPrefix(s.key, key+".") })
}

// didYouMean suggests the setting whose name is nearest to an unknown one: a few letters away, or the same word in another
// section.
func didYouMean(unknown string) string {
	nearest, least := "", 4
	suggest := func(name string, distance int) {
		if distance < least {
			nearest, least = name, distance
		}
	}
	for _, s := range settings {
		if strings.HasPrefix(s.key, "--") {
			continue
		}
		section, word, nested := strings.Cut(s.key, ".")
		suggest(s.key, levenshtein.ComputeDistance(folded(unknown), folded(s.key)))
		if nested {
			suggest(section, levenshtein.ComputeDistance(folded(unknown), folded(section)))
			suggest(s.key, 1+levenshtein.ComputeDistance(folded(unknown[strings.LastIndex(unknown, ".")+1:]), folded(word)))
		}
	}
	if nearest == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", nearest)
}

// folded maps api_key, apiKey and API-KEY to the same word.
func folded(name string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(name))
}
