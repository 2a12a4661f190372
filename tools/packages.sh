# shellcheck shell=sh
# packages.sh - for the scripts in this folder to source: install what they need.

# need PACKAGE...: have these Debian packages installed, or print the one line
# that installs them and exit. Where there is no dpkg, whatever is there must do.
need()
{
	command -v dpkg-query >/dev/null || return 0
	missing=
	for package in "$@"; do
		case $(dpkg-query -W -f='${Status}' "$package" 2>/dev/null) in
		"install ok installed" | "hold ok installed") ;;
		*) missing="$missing $package" ;;
		esac
	done
	[ -n "$missing" ] || return 0
	echo "Packages that are missing, to install with apt-get:$missing"

	as_root=
	if [ "$(id -u)" -ne 0 ]; then
		as_root=sudo
		# Without a terminal there is nobody to type a password.
		[ -t 0 ] || as_root="sudo -n"
	fi
	if [ -z "$as_root" ] || command -v sudo >/dev/null && $as_root true; then
		apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends"
		# shellcheck disable=SC2086 # one word for each package
		$apt update && $apt install $missing && return 0
	fi
	echo "That cannot be done from here. Type this line as root, then come back:" >&2
	echo "apt-get update && apt-get install -y --no-install-recommends$missing" >&2
	exit 1
}
