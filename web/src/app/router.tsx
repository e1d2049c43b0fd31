import { createBrowserRouter } from "react-router";
import { Broken } from "./broken";
import { Entering, Guarded } from "./guarded";
import { Layout } from "./layout";
import { NotFound } from "./not-found";
import { Landing } from "./pages/landing";

/** Every room but the first is loaded when it is entered. */
export const router = createBrowserRouter([
  {
    element: <Layout />,
    ErrorBoundary: Broken,
    HydrateFallback: Entering,
    children: [
      {
        ErrorBoundary: Broken,
        children: [
          { index: true, element: <Landing /> },
          {
            path: "sign-in",
            lazy: async () => ({ Component: (await import("./pages/sign-in")).SignInPage }),
          },
          {
            path: "sign-up",
            lazy: async () => ({ Component: (await import("./pages/sign-up")).SignUpPage }),
          },
          { path: "search", lazy: async () => ({ Component: (await import("./pages/search")).SearchPage }) },
          {
            path: "offers/:offerId",
            lazy: async () => ({ Component: (await import("./pages/offer")).OfferPage }),
          },
          {
            element: <Guarded />,
            children: [
              { path: "jobs", lazy: async () => ({ Component: (await import("./pages/jobs")).JobsPage }) },
              {
                path: "jobs/:jobId",
                lazy: async () => ({ Component: (await import("./pages/job")).JobPage }),
              },
              {
                path: "wallet",
                lazy: async () => ({ Component: (await import("./pages/wallet")).WalletPage }),
              },
              {
                path: "settings",
                lazy: async () => ({ Component: (await import("./pages/settings")).SettingsPage }),
              },
            ],
          },
          {
            element: <Guarded roles={["owner", "operator"]} />,
            children: [
              { path: "nodes", lazy: async () => ({ Component: (await import("./pages/nodes")).NodesPage }) },
              {
                path: "nodes/:nodeId",
                lazy: async () => ({ Component: (await import("./pages/node")).NodePage }),
              },
              {
                path: "earnings",
                lazy: async () => ({ Component: (await import("./pages/earnings")).EarningsPage }),
              },
            ],
          },
          {
            element: <Guarded roles={["operator"]} />,
            children: [
              { path: "fleet", lazy: async () => ({ Component: (await import("./pages/fleet")).FleetPage }) },
            ],
          },
          {
            element: <Guarded roles={["admin"]} />,
            children: [
              {
                path: "admin",
                lazy: async () => ({ Component: (await import("./pages/admin")).AdminRooms }),
                children: [
                  {
                    index: true,
                    lazy: async () => ({ Component: (await import("./pages/admin")).AdminOverviewPage }),
                  },
                  {
                    path: "users",
                    lazy: async () => ({ Component: (await import("./pages/admin")).AdminUsersPage }),
                  },
                  {
                    path: "nodes",
                    lazy: async () => ({ Component: (await import("./pages/admin")).AdminNodesPage }),
                  },
                  {
                    path: "incidents",
                    lazy: async () => ({ Component: (await import("./pages/admin")).AdminIncidentsPage }),
                  },
                  {
                    path: "incidents/:incidentId",
                    lazy: async () => ({ Component: (await import("./pages/admin")).AdminIncidentPage }),
                  },
                ],
              },
            ],
          },
          { path: "*", element: <NotFound /> },
        ],
      },
    ],
  },
]);
