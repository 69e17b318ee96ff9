# shellcheck shell=sh
# SPDX-License-Identifier: BSD-3-Clause
#
# The modules of the lab's kernels, built out of their tree. For lab/build, which has unpacked
# headers and sources into $kernel. What is built from is all in this folder: when it changes, it is
# built again.

# compile FOLDER: the modules that its Makefile names
compile()
{
	timeout -k 5 "${LAB_COMPILE_SECONDS:-900}" make -s -j"$(nproc)" \
		-C "$kernel/root/usr/src/linux-headers-$release" M="$1" modules >"$1/log" 2>&1 || {
		tail -n 30 "$1/log" >&2
		die "modules were not built: $1/log"
	}
	if grep -i 'warning:' "$1/log" >&2; then
		die "modules were built with warnings: $1/log"
	fi
	strip --strip-debug "$1"/*.ko
}

# The sample drivers: the kernel's mtty with its knobs, and labdma.
sample_drivers()
{
	cp "$kernel/source/samples/vfio-mdev/mtty.c" "$lab"/modules/*.[ch] "$1/"
	"$lab/modules/route-mtty.sh" "$1/mtty.c"
}

# For Debian's own vfio.
modules_debian()
{
	sample_drivers "$1"
	cp "$lab/modules/samples.mk" "$1/Makefile"
	compile "$1"
}

# And with a vfio that has cdev and iommufd under it.
vfio_with_iommufd()
{
	from=$kernel/source
	sample_drivers "$1"
	cp "$from"/drivers/iommu/*.h "$1/"
	cp -r "$from/drivers/iommu/iommufd" "$from/drivers/vfio" "$1/"
	rm -f "$1"/iommufd/Makefile "$1"/vfio/Makefile "$1"/vfio/*/Makefile
	"$lab/modules/refuse-arcs.sh" "$1/vfio/vfio_main.c"
	{
		echo '#include <linux/interval_tree.h>'
		echo '#include <linux/compiler.h>'
		sed -n '/^#ifdef CONFIG_INTERVAL_TREE_SPAN_ITER/,/^#endif/p' \
			"$from/lib/interval_tree.c" | grep -v EXPORT_SYMBOL
	} >"$1/iommufd/span_iter.c"
	printf '#include <linux/module.h>\n%s\n%s\n' 'MODULE_LICENSE("GPL v2");' \
		'MODULE_DESCRIPTION("bitmaps of the user");' >"$1/iommufd/iova_license.c"
	cat "$lab/modules/samples.mk" "$lab/modules/iommufd-$(lab_version).mk" \
		"$lab/modules/iommufd.mk" >"$1/Makefile"
	compile "$1"
}

# 6.12 of 6.12.95+deb12-amd64; the iommufd of those that have a file of it here can be built.
lab_version()
{
	echo "$release" | cut -d. -f1,2
}

# Of what lab/build builds, what lab/run calls kernels.
kernel_names()
{
	case $kernels in
	stable) echo debian iommufd ;;
	next)
		echo next
		[ ! -e "$lab/modules/iommufd-$(lab_version).mk" ] || echo next-iommufd
		;;
	esac
}

build_modules()
{
	key=$(cat "$lab"/modules/* | sha256sum)
	[ "$(cat "$kernel/modules.key" 2>/dev/null)" != "$key" ] || return 0
	say "building the modules"
	for name in $(kernel_names); do
		rm -rf "${kernel:?}/$name"
		mkdir -p "$kernel/$name"
		case $name in
		*iommufd) vfio_with_iommufd "$kernel/$name" ;;
		*) modules_debian "$kernel/$name" ;;
		esac
	done
	rm -f "$kernel/initrd.key"
	echo "$key" >"$kernel/modules.key"
}
