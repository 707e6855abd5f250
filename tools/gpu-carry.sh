#!/bin/sh
# Packs the libraries that Tenon and its tests are built with into a folder, for tools/gpu-check.sh --libs on
# a machine that lacks them and has no network.  Run it on Debian 12 after tools/packages.sh --test.
#   tools/gpu-carry.sh FOLDER
set -eu
cd "$(dirname "$0")/.."
case "${1:-}" in ""|-h|--help) sed -n '2,4s/^# //p' "$0"; exit 0 ;; esac
into=$1
rm -rf "$into"
mkdir -p "$into/bin" "$into/include" "$into/lib/pkgconfig"

for header in archive.h archive_entry.h cmocka.h jansson.h jansson_config.h yaml.h zconf.h zlib.h; do
    found=$(echo "#include <$header>" | cat - | gcc -include stdarg.h -include stddef.h -include setjmp.h \
            -include stdint.h -M -x c - | tr ' \\' '\n\n' | grep "/$header\$" | head -n 1)
    cp "$found" "$into/include/"
done

# A library by its soname, and all that it needs but the libraries of glibc and gcc, which are where a compiler is.
carry() {
    [ ! -e "$into/lib/$(basename "$1")" ] || return 0
    cp -L "$1" "$into/lib/$(basename "$1")"
    ldd "$1" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p' | while read -r needed; do
        case "$(basename "$needed")" in
        libc.so.*|libm.so.*|libpthread.so.*|libdl.so.*|librt.so.*|ld-linux*|libstdc++.so.*|libgcc_s.so.*) ;;
        *) carry "$needed" ;;
        esac
    done
}
for name in archive cmocka jansson yaml z; do
    file=$(readlink -f "$(gcc -print-file-name=lib$name.so)")
    soname=$(objdump -p "$file" | awk '$1 == "SONAME" { print $2 }')
    carry "$(dirname "$file")/$soname"
    ln -s "$soname" "$into/lib/lib$name.so"
done
# 31 MB of tables of ICU, which libarchive would look at for XAR alone
for tables in "$into"/lib/libicudata.so.*; do
    [ -e "$tables" ] || break
    echo "const char $(nm -D --defined-only "$tables" | awk '{ print $3; exit }')[16];" |
        gcc -shared -fPIC -Wl,-soname,"$(basename "$tables")" -o "$tables" -x c -
done
carry "$(ldd "$(command -v pkgconf)" | sed -n 's/.*=> \(.*libpkgconf[^ ]*\).*/\1/p')"
cp "$(command -v pkgconf)" "$into/bin/"
cat >"$into/bin/pkg-config" <<'END'
#!/bin/sh
here=$(dirname "$0")
LD_LIBRARY_PATH=$here/../lib exec "$here/pkgconf" "$@"
END
chmod +x "$into/bin/pkg-config"
for pair in libarchive:archive cmocka:cmocka jansson:jansson yaml-0.1:yaml; do
    package=${pair%%:*}
    cat >"$into/lib/pkgconfig/$package.pc" <<END
prefix=\${pcfiledir}/../..
Name: $package
Description: carried along
Version: $(pkg-config --modversion "$package")
Cflags: -I\${prefix}/include
Libs: -L\${prefix}/lib -l${pair##*:}
END
done
strip --strip-unneeded "$into"/lib/*.so.* "$into/bin/pkgconf" 2>/dev/null || true
du -sh "$into"
